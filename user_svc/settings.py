"""user-service: accounts and profiles."""

from platform_core.conf import service_settings

_APPS = ("platform_core.events", "platform_core.jobs", "platform_core.outbox")

globals().update(service_settings("user_svc", apps=_APPS))

ACCOUNTS = "user_svc.accounts"
"""Accounts are local in this service. The other services call it over HTTP."""
LIVE_SESSIONS = "user_svc.accounts.session_is_live"
"""Sessions are here, so a token ends here with its session. The other services accept it until it expires."""
SIGN_ON_TICKETS = "user_svc.accounts.sign_on_ticket"
"""People sign in here, and this service's tickets open the admins of the others."""
