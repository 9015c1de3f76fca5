"""Sign-on tickets: user-service tells one other service, once and within 30 s, who has signed in in a browser.

A ticket is a JWT in a redirect. It holds ids and no personal data. ``state`` binds it to the browser that asked: it is
the hash of a secret that only this browser has, in a cookie of the service. Otherwise a stranger could sign somebody
in with the stranger's own account (login CSRF, as with the ``state`` of OAuth 2.0, RFC 6749, section 10.12).
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from django.db import IntegrityError, transaction
from django.db.models.functions import Now
from django.utils.crypto import constant_time_compare

from platform_core.auth.tokens import BadToken, ticket_claims
from platform_core.models import RedeemedTicket

TICKET_SECONDS = 30
_REMEMBERED = timedelta(minutes=10)
"""For which a redeemed ticket is stored. Longer than any ticket can be valid, even if clocks differ by minutes."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """A ticket for this service. ``session`` is the one at user-service, which ends at ``until``.

    ``following`` is the path that the browser asked for. It is not checked: use `local_path`.
    """

    account: int
    session: str
    until: datetime
    following: str
    _state: str
    _jti: str

    def is_for(self, secret: str) -> bool:
        """Whether the browser with this secret has asked for the ticket."""
        return bool(secret) and constant_time_compare(self._state, state_of(secret))

    def spend(self) -> bool:
        """Whether the ticket is redeemed for the first time. Of several requests at once, one gets True."""
        RedeemedTicket.objects.filter(expires_at__lt=Now()).delete()
        try:
            with transaction.atomic():
                RedeemedTicket.objects.create(jti=self._jti, expires_at=Now() + _REMEMBERED)
        except IntegrityError:
            return False
        return True


def state_of(secret: str) -> str:
    """The public form of a browser's secret."""
    return sha256(secret.encode()).hexdigest()


def read_ticket(token: str) -> Ticket:
    """The ticket, if user-service has signed it for this service and it has not expired.

    Raises BadToken, or the error of loading the keys if none are known yet.
    """
    claims = ticket_claims(token)
    try:
        until = datetime.fromtimestamp(claims["until"], UTC)
        texts = [claims[name] for name in ("sid", "next", "state", "jti")]
        session, following, state, jti = (text for text in texts if isinstance(text, str) and text)
        return Ticket(int(claims["sub"]), session, until, following, state, jti[:64])
    except (ValueError, TypeError, KeyError, OverflowError, OSError):
        raise BadToken("It is malformed.") from None
