"""The Django settings of a service, built from the environment. Pure functions: they can be tested without Django."""

import os
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from csp.constants import NONE, SELF

from platform_core.conf.environment import ROOT, database_parts, keys_dir, parsed
from platform_core.conf.rate_limits import budgets
from platform_core.http.context import STATEMENT_SECONDS
from platform_core.http.origins import LOCAL_ORIGIN
from platform_core.http.rate_limits import HEADERS as RATE_LIMIT_HEADERS
from platform_core.http.request_body import MAX_BODY_BYTES
from platform_core.observability.logs import logging_config
from platform_core.topology import BY_PACKAGE, SERVICES, Service

STATIC_URL = "/static/"
LOW_STOCK = 10
"""A product's stock is low at this many pieces or fewer, unless the product has a threshold of its own."""


def service_settings(
    package: str, *, apps: Sequence[str] = (), uploads: Sequence[str] = (), environment: Mapping[str, str] = os.environ
) -> dict[str, Any]:
    """All settings of the service in ``package``; ``apps`` come on top of the common ones.

    ``uploads`` are the paths to which files are uploaded (`platform_core.http.request_body`).

    Raises ConfigurationError, which names every variable that is malformed.
    """
    service = BY_PACKAGE[package]
    values = parsed(environment)
    development = values["PLATFORM_ENV"] == "development"
    name = values["SERVICE_NAME"] or service.name
    return {
        "SERVICE": service,
        "SERVICE_NAME": name,
        "PLATFORM_ENV": values["PLATFORM_ENV"],
        "PORT": values["PORT"] or service.port,
        "BIND_HOST": values["BIND_HOST"],
        "WORKER_METRICS_PORT": values["WORKER_METRICS_PORT"],
        "PENDING_SECONDS": values["PENDING_SECONDS"],
        "OUTBOX_CONCURRENCY": values["OUTBOX_CONCURRENCY"],
        "OUTBOX_RETENTION_DAYS": values["OUTBOX_RETENTION_DAYS"],
        "WEBHOOK_FAILING_DAYS": values["WEBHOOK_FAILING_DAYS"],
        "IDEMPOTENCY_HOURS": values["IDEMPOTENCY_HOURS"],
        "ORDER_MOST_PIECES": values["ORDER_MOST_PIECES"],
        "ORDER_MOST_OPEN": values["ORDER_MOST_OPEN"],
        "EVENT_RETENTION_DAYS": values["EVENT_RETENTION_DAYS"],
        "PEER_PLACES": values["WEB_THREADS"] - 1,
        "HASH_PLACES": max(values["WEB_THREADS"] // 2, 1),
        "PUBLIC_URLS": {peer.name: values[peer.public_url_variable] for peer in SERVICES},
        "PEER_URLS": {peer.name: values[peer.url_variable] for peer in SERVICES},
        "CURRENCY": values["CURRENCY"],
        "LOW_STOCK": LOW_STOCK,
        "SHOP_TIME_ZONE": values["SHOP_TIME_ZONE"],
        "DEBUG": values["DEBUG"] == "true",
        "SECRET_KEY": values["SECRET_KEY"],
        "ALLOWED_HOSTS": _hosts(service, values, development),
        "HOSTS_ARE_GIVEN": bool(values["ALLOWED_HOSTS"]),
        "DATABASE_IS_GIVEN": database_parts(service, values) is not None,
        **_auth(values),
        "INSTALLED_APPS": _apps(package, apps),
        "MIDDLEWARE": MIDDLEWARE,
        "ROOT_URLCONF": "platform_core.urls",
        "WSGI_APPLICATION": "platform_core.wsgi.application",
        "DATABASES": {"default": _database(service, values)},
        "DEFAULT_AUTO_FIELD": "django.db.models.BigAutoField",
        "TEMPLATES": TEMPLATES,
        "LANGUAGE_CODE": "en",
        "USE_I18N": False,
        "USE_TZ": True,
        "TIME_ZONE": "UTC",
        "FORMAT_MODULE_PATH": "platform_core.conf.formats",
        "LOGIN_REDIRECT_URL": "/admin/",
        "APPEND_SLASH": False,
        "LOGGING": logging_config(name, values["LOG_LEVEL"], values["LOG_FORMAT"] or "json"),
        "DATA_UPLOAD_MAX_MEMORY_SIZE": MAX_BODY_BYTES,
        "UPLOADS": tuple(uploads),
        "PASSWORD_HASHERS": ["platform_core.auth.hashers.Argon2Hasher"],
        "AUTH_PASSWORD_VALIDATORS": _password_validators(values["BREACHED_PASSWORDS"]),
        "REST_FRAMEWORK": REST_FRAMEWORK,
        "ACCESS_RULES": service.access_module,
        "AUTHENTICATION_BACKENDS": AUTHENTICATION_BACKENDS,
        "SPECTACULAR_SETTINGS": _openapi(service),
        **_static_files(development),
        **_cookies(service, secure=not development),
        **_https(values, required=not development),
        "CONTENT_SECURITY_POLICY": CONTENT_SECURITY_POLICY,
        **_cors(values["CORS_ALLOWED_ORIGINS"], development),
        **_mail(values),
        "UNFOLD": {
            "SITE_TITLE": name,
            "SITE_HEADER": name,
            "SITE_SYMBOL": "storefront",
            "LOGIN": {"form": "platform_core.auth.staff.SignInForm"},
            "SCRIPTS": [f"{STATIC_URL}platform_core/admin.js"],
            "COLORS": {"base": _GREYS},
            "STYLES": [f"{STATIC_URL}platform_core/admin.css"],
            "SIDEBAR": {"navigation": "platform_core.office.sidebar.navigation"},
            "DASHBOARD_CALLBACK": "platform_core.office.sidebar.index",
            "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": f"{STATIC_URL}platform_core/icon.svg"}],
        },
    }


_GREYS = {
    "50": "#f9f9fb",
    "100": "#f3f3f6",
    "200": "#e3e3e9",
    "300": "#cbcbd4",
    "400": "#a5a5b1",
    "500": "#65656f",
    "600": "#4d4d58",
    "700": "#3c3c46",
    "800": "#2d2d35",
    "900": "#1b1b20",
    "950": "#121215",
}
"""The admin's greys: those of the dashboard and of `static/platform_core/theme.css`."""

MIDDLEWARE = [
    "platform_core.http.middleware.RequestMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "platform_core.http.security_headers.CSPMiddleware",
    "platform_core.http.security_headers.CorsMiddleware",
    "platform_core.http.origins.ForeignOriginMiddleware",
    "platform_core.db.bounds.RefuseWritesMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "platform_core.auth.staff.StaffSessionMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],  # the pictures in the stylesheets of Swagger UI and bootstrap
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
        "base-uri": [NONE],
        "object-src": [NONE],
    }
}
"""Of HTML pages. `platform_core.http.security_headers` has the policy of other answers and the admin's exception."""

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,  # platform_core is the first app, so its templates override those of the others
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "platform_core.auth.access.BearerAuthentication",
        "platform_core.auth.access.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["platform_core.auth.access.RulesPermission"],
    "DEFAULT_THROTTLE_CLASSES": ["platform_core.auth.budgets.BudgetThrottle"],
    "DEFAULT_RENDERER_CLASSES": [
        "platform_core.api.json.JSONRenderer",
        "platform_core.api.browsable.BrowsableAPIRenderer",
    ],
    "DEFAULT_PARSER_CLASSES": ["platform_core.api.json.JSONParser"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "platform_core.api.negotiation.Negotiation",
    "DEFAULT_METADATA_CLASS": "platform_core.api.negotiation.NoMetadata",
    "DEFAULT_PAGINATION_CLASS": "platform_core.api.pages.KeysetPagination",
    "DEFAULT_FILTER_BACKENDS": ["platform_core.api.queries.QueryFilter"],
    "DEFAULT_SCHEMA_CLASS": "platform_core.api.schema.AutoSchema",
    "EXCEPTION_HANDLER": "platform_core.api.problems.handle",
    "URL_FORMAT_OVERRIDE": None,
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}


AUTHENTICATION_BACKENDS = [
    # Local accounts first, so that they can sign in while user-service is down.
    "platform_core.auth.staff.LocalBackend",
    "platform_core.auth.staff.StaffBackend",
]


def _hosts(service: Service, values: Mapping[str, Any], development: bool) -> list[str]:
    """The configured hosts, and the name that peers use."""
    internal = urlsplit(values[service.url_variable]).hostname or ""
    if development and not values["ALLOWED_HOSTS"]:
        return [*_local_hosts(), internal]
    return [*(values["ALLOWED_HOSTS"] or []), internal]


def _auth(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "ACCOUNTS": "platform_core.clients.users",
        "LIVE_SESSIONS": "",
        "SIGN_ON_TICKETS": "",
        "KEYS_DIR": keys_dir(values),
        "SERVICE_KEY": values["SERVICE_KEY"] or "",
        "SERVICE_KEYS": values["SERVICE_KEYS"] or "",
        "METRICS_TOKEN": values["METRICS_TOKEN"] or "",
        "CATALOG_MAX_AGE": values["CATALOG_MAX_AGE"],
        "NUM_PROXIES": values["NUM_PROXIES"],
        "SIGN_UPS_PER_HOUR": values["SIGN_UPS_PER_HOUR"],
        "RATE_LIMITS": budgets(values["RATE_LIMITS"] or {}, development=values["PLATFORM_ENV"] == "development"),
        "ACCOUNT_LINKS_URL": values["ACCOUNT_LINKS_URL"],
        "EMAIL_VERIFICATION": (values["EMAIL_VERIFICATION"] or _default_verification(values)) == "on",
    }


def _password_validators(breached: str | None) -> list[dict[str, Any]]:
    similar = {"user_attributes": ("name", "email", "username")}
    validators: list[tuple[str, dict[str, Any]]] = [
        ("MinimumLengthValidator", {}),
        ("CommonPasswordValidator", {}),
        *([("CommonPasswordValidator", {"password_list_path": breached})] if breached else []),
        ("NumericPasswordValidator", {}),
        ("UserAttributeSimilarityValidator", similar),
    ]
    module = "django.contrib.auth.password_validation"
    return [{"NAME": f"{module}.{name}", "OPTIONS": options} for name, options in validators]


def _default_verification(values: Mapping[str, Any]) -> str:
    return "off" if values["PLATFORM_ENV"] == "development" else "on"


def _apps(package: str, own: Sequence[str]) -> list[str]:
    return [
        "platform_core",
        package,
        *own,
        "unfold.apps.BasicAppConfig",
        "platform_core.apps.AdminConfig",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "django.contrib.messages",
        "django.contrib.staticfiles",
        "django.contrib.postgres",
        "corsheaders",
        "csp",
        "rest_framework",
        "drf_spectacular",
        "drf_spectacular_sidecar",
    ]


def _local_hosts() -> list[str]:
    return ["localhost", ".localhost", "127.0.0.1", "[::1]", *(service.name for service in SERVICES)]


# Postgres closes the connections of a host that has vanished without a word after 25 s. The kernel's default is two
# hours, and meanwhile they hold their places and their locks.
_GIVEN_UP = "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3 -c tcp_user_timeout=25000"


def _database(service: Service, values: Mapping[str, Any]) -> dict[str, Any]:
    parts = database_parts(service, values) or {"dbname": "platform", "user": service.role}
    session = (
        f"-c statement_timeout={int(STATEMENT_SECONDS * 1000)} -c idle_in_transaction_session_timeout=15000 "
        f"{_GIVEN_UP} -c application_name={service.name} {parts.pop('options', '')}"
    )
    known = {key: parts.pop(key, "") for key in ("dbname", "user", "password", "host", "port")}
    return {
        "ENGINE": "platform_core.db.postgresql",
        "NAME": known["dbname"],
        "USER": known["user"],
        "PASSWORD": known["password"],
        "HOST": known["host"],
        "PORT": known["port"],
        "CONN_MAX_AGE": None,
        # psycopg never prepares by itself: `platform_core.db.connections.prepared` does so explicitly.
        "OPTIONS": {"connect_timeout": 2, "prepare_threshold": 2**31, **parts, "options": session.strip()},
        "TEST": {"NAME": f"test_{service.package}"},
    }


def _static_files(development: bool) -> dict[str, Any]:
    return {
        "STATIC_URL": STATIC_URL,
        "STATIC_ROOT": ROOT / "staticfiles",
        "WHITENOISE_USE_FINDERS": development,
        "WHITENOISE_AUTOREFRESH": development,
    }


def _cookies(service: Service, *, secure: bool) -> dict[str, Any]:
    """Cookies ignore ports: without separate names, the five admins on localhost would sign each other out."""
    return {
        "CSRF_FAILURE_VIEW": "platform_core.api.problems.csrf_failure",
        "SESSION_COOKIE_NAME": f"{service.stem}_session",
        "CSRF_COOKIE_NAME": f"{service.stem}_csrf",
        "MESSAGE_STORAGE": "django.contrib.messages.storage.session.SessionStorage",
        "SESSION_COOKIE_AGE": 12 * 3600,
        "SESSION_COOKIE_SECURE": secure,
        "CSRF_COOKIE_SECURE": secure,
    }


def _https(values: Mapping[str, Any], *, required: bool) -> dict[str, Any]:
    """TLS ends at a proxy, which sets X-Forwarded-Proto."""
    if not required:
        return {}
    return {
        "SECURE_PROXY_SSL_HEADER": ("HTTP_X_FORWARDED_PROTO", "https"),
        "SECURE_SSL_REDIRECT": True,
        # Called over plain HTTP, past the proxy: by the other services, health checks and Prometheus.
        "SECURE_REDIRECT_EXEMPT": [r"^(api|health|metrics|\.well-known)(/|$)"],
        "SECURE_HSTS_SECONDS": 31_536_000,
        "SECURE_HSTS_INCLUDE_SUBDOMAINS": values["HSTS_INCLUDE_SUBDOMAINS"] == "true",
        "SECURE_HSTS_PRELOAD": values["HSTS_PRELOAD"] == "true",
    }


def _cors(origins: list[str] | None, development: bool) -> dict[str, Any]:
    everyone = origins == ["*"]
    return {
        "CORS_ALLOW_ALL_ORIGINS": everyone,
        "CORS_ALLOWED_ORIGINS": [] if everyone else origins or [],
        "CORS_ALLOWED_ORIGIN_REGEXES": [LOCAL_ORIGIN] if development else [],
        "CORS_ALLOW_HEADERS": [
            *("accept", "authorization", "content-type", "idempotency-key", "if-match", "if-none-match"),
            *("baggage", "traceparent", "tracestate", "x-request-id", "x-request-timeout"),
        ],
        "CORS_EXPOSE_HEADERS": [
            *("Accept-Patch", "Accept-Post", "ETag", "Idempotent-Replayed", "Location", "Retry-After", "X-Request-ID"),
            *RATE_LIMIT_HEADERS,
        ],
    }


def _mail(values: Mapping[str, Any]) -> dict[str, Any]:
    mail = {key: value for key, value in values["EMAIL_URL"].items() if key.startswith("EMAIL_")}
    if mail.get("EMAIL_BACKEND") == "django.core.mail.backends.smtp.EmailBackend":
        mail["EMAIL_BACKEND"] = "platform_core.outbox.smtp.EmailBackend"
    return {
        "EMAIL_TIMEOUT": values["EMAIL_REPLY_SECONDS"],
        "EMAIL_ACCEPT_SECONDS": values["EMAIL_ACCEPT_SECONDS"],
        "EMAIL_ATTEMPT_SECONDS": values["EMAIL_ATTEMPT_SECONDS"],
        **mail,
        "DEFAULT_FROM_EMAIL": values["DEFAULT_FROM_EMAIL"],
        "SHOP_NAME": values["SHOP_NAME"],
        "MAIL_TEMPLATES": values["MAIL_TEMPLATES"] or "",
    }


def _openapi(service: Service) -> dict[str, Any]:
    from platform_core import __version__

    return {
        "TITLE": service.name,
        "VERSION": __version__,
        "OAS_VERSION": "3.1.0",
        "SERVE_INCLUDE_SCHEMA": False,
        "SERVERS": [
            {"url": "/", "description": "The service that serves this document."},
            {"url": f"http://localhost:{service.port}", "description": "In development."},
        ],
        "SERVE_PUBLIC": True,
        "SWAGGER_UI_DIST": "SIDECAR",
        "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
        "SWAGGER_UI_SETTINGS": "platformSettings",  # of static/platform_core/docs.js
        "COMPONENT_SPLIT_REQUEST": True,
        "SCHEMA_PATH_PREFIX": r"/api",
        "CAMELIZE_NAMES": True,
        "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
        "POSTPROCESSING_HOOKS": [
            "drf_spectacular.hooks.postprocess_schema_enum_id_removal",
            "platform_core.api.schema.finish",
        ],
    }
