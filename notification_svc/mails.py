"""The text and the HTML of mails, rendered from Django templates.

A type of notification has the templates ``TYPE.txt`` and ``TYPE.html``. Those in the folder ``MAIL_TEMPLATES`` take
precedence over those of this package, so a shop can replace each of them alone, and the layouts that they extend. They
get ``shop_name``, ``type``, ``subject``, ``message`` and ``data`` (an empty object if the sender gave none).
A type without a template is a text alone: the ``message``.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from django.conf import settings
from django.core.checks import CheckMessage, Error
from django.template import TemplateDoesNotExist, TemplateSyntaxError, engines

from notification_svc.models import Notification
from platform_core.api import decode

ENGINES: Mapping[str, str] = {".txt": "mail_text", ".html": "mail_html"}
"""The template engines, by the suffix of their templates. That of HTML escapes values, that of texts does not."""


class Mail(NamedTuple):
    """``html`` is None if the type has no template for it."""

    subject: str
    text: str
    html: str | None


def rendered(notification: Notification, message: str) -> Mail:
    """The mail of a notification whose text is ``message``. Raises Django's errors of templates.

    Pages show the notification's own message, which does not reveal a confidential text.
    """
    subject = notification.subject or notification.type.replace("_", " ").capitalize()
    context = {
        "shop_name": settings.SHOP_NAME,
        "type": notification.type,
        "subject": subject,
        "message": message,
        "data": decode(notification.data) if notification.data else {},
    }
    text = _rendered(notification.type, ".txt", context)
    html = _rendered(notification.type, ".html", context)
    return Mail(subject, message if text is None else text, html)


def _rendered(type_: str, suffix: str, context: dict[str, Any]) -> str | None:
    try:
        template = engines[ENGINES[suffix]].get_template(f"{type_}{suffix}")
    except TemplateDoesNotExist as missing:
        if missing.chain:
            raise  # the template is there, and extends or includes one that is not
        return None
    return "".join([template.render(context)])  # a plain text, which a page that shows it has to escape


def check_templates(**_: Any) -> Sequence[CheckMessage]:
    """System check: the folder ``MAIL_TEMPLATES`` exists, and Django can read the templates in it."""
    if not settings.MAIL_TEMPLATES:
        return []
    folder = Path(settings.MAIL_TEMPLATES)
    if not folder.is_dir():
        return [Error(f"MAIL_TEMPLATES: there is no folder {folder}.", id="notification_svc.E002")]
    found: list[CheckMessage] = []
    for path in sorted(folder.iterdir()):
        if path.suffix in ENGINES:
            try:
                engines[ENGINES[path.suffix]].get_template(path.name)
            except (TemplateSyntaxError, UnicodeDecodeError, OSError) as error:
                text = f"MAIL_TEMPLATES: {path.name} cannot be read: {error}"
                found.append(Error(text, id="notification_svc.E003"))
    return found
