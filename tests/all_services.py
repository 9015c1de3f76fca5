"""Settings with the models of all services, for the type checker alone."""

from pathlib import Path
from typing import Any

from platform_core.conf.settings import service_settings
from platform_core.topology import ORDER, SERVICES, Service

SERVICE: Service
SERVICE_NAME: str
PLATFORM_ENV: str
PORT: int
BIND_HOST: str
WORKER_METRICS_PORT: int | None
PENDING_SECONDS: int
OUTBOX_CONCURRENCY: int
OUTBOX_RETENTION_DAYS: int
WEBHOOK_FAILING_DAYS: int
EMAIL_ACCEPT_SECONDS: int
EMAIL_ATTEMPT_SECONDS: int
IDEMPOTENCY_HOURS: int
EVENT_RETENTION_DAYS: int
PEER_PLACES: int
HASH_PLACES: int
PEER_URLS: dict[str, str]
PUBLIC_URLS: dict[str, str]
SECRET_KEY: str
ACCOUNTS: str
LIVE_SESSIONS: str
SIGN_ON_TICKETS: str
ACCESS_RULES: str
KEYS_DIR: Path
SERVICE_KEY: str
SERVICE_KEYS: str
METRICS_TOKEN: str
CATALOG_MAX_AGE: int
CURRENCY: str
LOW_STOCK: int
SHOP_TIME_ZONE: str
CORS_ALLOWED_ORIGIN_REGEXES: list[str]
CORS_ALLOWED_ORIGINS: list[str]
CORS_ALLOW_ALL_ORIGINS: bool
NUM_PROXIES: int
SIGN_UPS_PER_HOUR: int
RATE_LIMITS: dict[tuple[str, str], int | None]
ORDER_MOST_PIECES: int
ORDER_MOST_OPEN: int
ACCOUNT_LINKS_URL: str
EMAIL_VERIFICATION: bool
SHOP_NAME: str
MAIL_TEMPLATES: str
HOSTS_ARE_GIVEN: bool
DATABASE_IS_GIVEN: bool
DIRECT_DATABASE: dict[str, Any]

globals().update(
    service_settings(
        "order_svc",
        apps=[
            "platform_core.events",
            "platform_core.jobs",
            "platform_core.outbox",
            *(service.package for service in SERVICES if service is not ORDER),
        ],
    )
)
UPLOADS: tuple[str, ...]
