"""notification-service: messages and their delivery."""

from pathlib import Path
from typing import Any

from platform_core.conf import service_settings

_APPS = ("platform_core.events", "platform_core.jobs", "platform_core.outbox")
_settings = service_settings("notification_svc", apps=_APPS)
_MAILS = Path(__file__).parent / "templates" / "notification_svc" / "mails"


def _mail_engine(name: str, *, autoescape: bool) -> dict[str, Any]:
    """The engine of `notification_svc.mails`: first the shop's own folder, then the templates of this package."""
    return {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "NAME": name,
        "DIRS": [folder for folder in (_settings["MAIL_TEMPLATES"], _MAILS) if folder],
        "OPTIONS": {"autoescape": autoescape, "builtins": ["platform_core.templatetags.money"]},
    }


_settings["TEMPLATES"] = [
    *_settings["TEMPLATES"],
    _mail_engine("mail_text", autoescape=False),
    _mail_engine("mail_html", autoescape=True),
]
globals().update(_settings)
