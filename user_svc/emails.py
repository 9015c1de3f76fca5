"""Email addresses: which are accepted, and when two are the same."""

import re
import unicodedata

import idna

MOST = 320
"""Characters of a key: 64 for the local part and 255 for the domain, as in RFC 5321."""
_LOCAL = re.compile(r"[^\s@\x00-\x1f\x7f-\x9f\"(),:;<>\[\\\].]+(\.[^\s@\x00-\x1f\x7f-\x9f\"(),:;<>\[\\\].]+)*")
_INVISIBLE = ("Cc", "Cf", "Cs", "Co", "Cn", "Zs", "Zl", "Zp")


class BadAddress(ValueError):
    """Not an address that can be used. The message says why."""


def email_key(email: str) -> str:
    """The form in which addresses are compared: limits count by it, and it is unique.

    Case, Unicode's compatibility forms and the spelling of the domain (IDNA 2008) make no difference. Letters that only
    look alike stay different. Raises BadAddress.
    """
    local, at, domain = email.strip().rpartition("@")
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", local).casefold())
    if not at or not _LOCAL.fullmatch(folded) or any(unicodedata.category(c) in _INVISIBLE for c in folded):
        raise BadAddress("Enter an address such as ann@example.com. The part before the @ has no quotes or spaces.")
    try:
        host = idna.encode(domain, uts46=True).decode().lower()
    except idna.IDNAError:
        raise BadAddress(f"{domain[:100]!r} is not the name of a host.") from None
    if ("." not in host and host != "localhost") or host.rpartition(".")[2].isdigit() or host.endswith("."):
        raise BadAddress(f"{domain[:100]!r} is not the name of a host on the internet.")
    if len(key := f"{folded}@{host}") > MOST:
        raise BadAddress("The address is too long.")
    return key


def guessed_key(email: str) -> str:
    """The key of what somebody entered at a sign-in; a text without meaning is its own key."""
    try:
        return email_key(email)
    except BadAddress:
        return unicodedata.normalize("NFKC", email).casefold()
