"""The pages of mails in development. `notification_svc.urls` has their routes there alone."""

from typing import Any

from csp.constants import NONE, SELF, UNSAFE_INLINE
from csp.decorators import csp, csp_update
from django.http import HttpResponse
from django.utils.decorators import method_decorator
from django.views.decorators.clickjacking import xframe_options_sameorigin
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import CharField

from notification_svc.development.mailbox import KEPT, Kept, mail, mails
from platform_core.api import PageViewSet, Query, read_query
from platform_core.http import NotFound

NEW_TABS = '<base target="_blank">'
"""Put into the HTML of a mail, so that its links leave the frame."""
IN_A_FRAME = {
    "default-src": [NONE],
    "style-src": [UNSAFE_INLINE],
    "img-src": ["data:"],
    "frame-ancestors": [SELF],
    "sandbox": ["allow-popups", "allow-popups-to-escape-sandbox"],
}
"""The policy of a mail's HTML: no scripts, no forms, nothing from other hosts, and an origin of its own."""


class MailsQuery(Query):
    to = CharField(required=False, default="", allow_blank=True, max_length=254, help_text="Part of the address.")


class Mails(PageViewSet):
    """The list of mails."""

    template_name = "notification_svc/development/mails.html"

    def list(self, request: Request) -> Response:
        self.found = list(mails(self.wanted))
        return Response({"results": [_shown(each) for each in self.found]}, headers={"Cache-Control": "no-store"})

    @property
    def wanted(self) -> str:
        to: str = read_query(self.request, MailsQuery)["to"]
        return to

    def page_context(self, request: Request) -> dict[str, Any]:
        return {"mails": self.found, "to": self.wanted, "kept": KEPT}


class OneMail(PageViewSet):
    """One mail: its text and its HTML."""

    template_name = "notification_svc/development/mail.html"

    @method_decorator(csp_update({"frame-src": [SELF]}))
    def retrieve(self, request: Request, pk: int) -> Response:
        self.kept = _found(pk)
        letter = self.kept.letter
        body = {**_shown(self.kept), "from": letter.sender, "text": letter.text, "html": letter.html}
        return Response(body, headers={"Cache-Control": "no-store"})

    @method_decorator(xframe_options_sameorigin)
    @method_decorator(csp(IN_A_FRAME))
    def html(self, request: Request, pk: int) -> HttpResponse:
        """The HTML of a mail, for the frame."""
        html = _found(pk).letter.html
        if html is None:
            raise NotFound()
        head, tag, rest = html.partition("<head>")
        page = f"{head}{tag}{NEW_TABS}{rest}" if tag else NEW_TABS + html
        return HttpResponse(page, headers={"Cache-Control": "no-store"})

    def page_context(self, request: Request) -> dict[str, Any]:
        return {"row": self.kept.row, "letter": self.kept.letter}


def _found(pk: int) -> Kept:
    kept = mail(int(pk))
    if kept is None:
        raise NotFound()
    return kept


def _shown(kept: Kept) -> dict[str, Any]:
    return {
        "id": str(kept.row.pk),
        "sentAt": kept.row.created_at,
        "to": kept.letter.recipient,
        "subject": kept.letter.subject,
    }
