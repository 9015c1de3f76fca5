"""user-service: accounts and profiles."""

from platform_core.conf import service_settings

globals().update(service_settings("user_svc", apps=["platform_core.events"]))

ACCOUNTS = "user_svc.accounts"
"""Accounts are local in this service. The other services call it over HTTP."""
