"""The environment variables: their meaning, their allowed values, and the error messages for other values.

All invalid variables are reported together, each with its name, the expected and the actual value.
"""

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit
from zoneinfo import ZoneInfo

import environ
from psycopg.conninfo import conninfo_to_dict

from platform_core.conf import rate_limits
from platform_core.conf.currencies import currency
from platform_core.observability.logs import FORMATTERS, LEVELS
from platform_core.topology import SERVICES, Service

ROOT = Path(__file__).resolve().parent.parent.parent
DEVELOPMENT_KEY = "development-only-key-that-production-refuses-to-start-with"
EXIT_CODE = 78
"""``EX_CONFIG`` of sysexits.h: the exit code for an invalid configuration."""


class ConfigurationError(Exception):
    """``problems`` has one line for each invalid variable."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("; ".join(problems))


@dataclass(frozen=True, slots=True)
class Variable:
    """An environment variable. ``parse`` converts the text, or raises ValueError with the expected format."""

    name: str
    default: str
    parse: Callable[[str], Any]
    meaning: str
    secret: bool = False
    """A secret is never shown, and NAME_FILE may name a file that contains it."""


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
            raise ValueError(f"a whole number from {low} to {high}")
        return int(text)

    return parse


def _choice(*options: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in options:
            raise ValueError("one of " + ", ".join(options))
        return text

    return parse


def _text(text: str) -> str:
    return text


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _origins(text: str) -> list[str]:
    origins = _words(text)
    for origin in origins:
        parts = urlsplit(origin)
        if origin != "*" and (parts.scheme not in ("http", "https") or not parts.netloc or parts.path):
            raise ValueError("origins such as https://shop.example.com, separated by commas, or *")
    return origins


def _http_url(text: str) -> str:
    expected = "a URL such as http://127.0.0.1:8001, without a path"
    try:
        parts = urlsplit(text)
        port_is_fine = parts.port is None or parts.port > 0
    except ValueError:
        raise ValueError(expected) from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or not port_is_fine:
        raise ValueError(expected)
    return text.rstrip("/")


def _readable_file(text: str) -> str:
    try:
        with Path(text).open("rb"):
            return text
    except OSError:
        raise ValueError("the path of a readable file") from None


def _link_base(text: str) -> str:
    expected = "a URL such as https://shop.example.com/account, without ? and #"
    try:
        parts = urlsplit(text)
        is_fine = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        raise ValueError(expected) from None
    if not is_fine or parts.query or parts.fragment or not text.isprintable() or " " in text:
        raise ValueError(expected)
    return text.rstrip("/")


def _database_url(text: str) -> str:
    expected = "a URL such as postgresql://user:password@host:5432/database"
    if not text:
        return text
    try:
        parts = conninfo_to_dict(text)
    except Exception:
        raise ValueError(expected) from None
    if not text.startswith(("postgresql://", "postgres://")) or not parts.get("dbname"):
        raise ValueError(expected)
    return text


def _json(text: str) -> str:
    try:
        json.loads(text)
    except ValueError:
        raise ValueError("JSON: a JWK or a JWK set") from None
    return text


def _time_zone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (ValueError, OSError, KeyError):
        raise ValueError("a time zone such as Europe/Berlin or UTC") from None
    return text


def _email_url(text: str) -> dict[str, Any]:
    try:
        return dict(environ.Env.email_url_config(text))
    except Exception:
        raise ValueError("a URL such as smtp+tls://user:password@host:587 or consolemail://") from None


VARIABLES = (
    Variable(
        "PLATFORM_ENV",
        "development",
        _choice("development", "production"),
        "In `development` everybody may do everything, and a log line and `/health` say so; `production` enforces the "
        "access rules.",
    ),
    Variable("SERVICE_NAME", "", _text, "The name in logs and `/health`; default: the service's name."),
    Variable(
        "PORT",
        "",
        _whole(1, 65535),
        f"The port a single service listens on; by default its own, {SERVICES[0].port} to {SERVICES[-1].port}.",
    ),
    Variable("BIND_HOST", "127.0.0.1", _text, "The address the services listen on. The image sets `0.0.0.0`."),
    Variable("LOG_LEVEL", "info", _choice(*LEVELS), "The least severe level that is logged."),
    Variable(
        "LOG_FORMAT",
        "",
        _choice(*FORMATTERS),
        "`json`: one object per line; `text`: for people. Empty: `text` if `up` runs on a terminal, otherwise `json`.",
    ),
    Variable("DEBUG", "false", _choice("false", "true"), "Django's debug mode. Production refuses to start with it."),
    Variable(
        "SECRET_KEY",
        DEVELOPMENT_KEY,
        _text,
        "Signs sessions and cursors, guards the keys of user-service and derives the database roles' passwords. "
        "At least 50 characters in production.",
        secret=True,
    ),
    Variable(
        "KEYS_DIR",
        "",
        _text,
        "The folder of the services' keys: `order-service/private.json` has its own key, `order-service/public.json` "
        "the public keys of all. `manage.py keys` creates them; in development `up` does, in `PLATFORM_DATA/keys`.",
    ),
    Variable("SERVICE_KEY", "", _json, "The service's private key itself, a JWK, instead of the file.", secret=True),
    Variable("SERVICE_KEYS", "", _json, "The public keys of all services, a JWK set, instead of the files."),
    Variable(
        "METRICS_TOKEN",
        "",
        _text,
        "In production `/metrics` requires this as a bearer token, except for requests from the same machine.",
        secret=True,
    ),
    Variable(
        "WORKER_METRICS_PORT",
        "",
        _whole(1, 65535),
        "A port on which a worker serves its own `/metrics`, and `/health/live`. Not needed under `up`: the web "
        "includes its numbers.",
    ),
    Variable(
        "STAFF_TOKEN", "", _text, "For `manage.py verify` in production: an access token of the staff.", secret=True
    ),
    Variable(
        "NUM_PROXIES",
        "0",
        _whole(0, 10),
        "The number of proxies that add an address to `X-Forwarded-For`. 0: no proxy; the header is ignored.",
    ),
    Variable(
        "SIGN_UPS_PER_HOUR",
        "60",
        _whole(1, 1_000_000),
        "The number of accounts that one address may create per hour in production.",
    ),
    Variable(
        "RATE_LIMITS",
        "",
        rate_limits.parse,
        "How many requests a caller may make per minute, as entries such as `customer.reads=600,staff.mails=off`; "
        f"`off` alone: no limits. What is not named has its default in production: `{rate_limits.shown_defaults()}`. "
        "In development only what is named is limited.",
    ),
    Variable(
        "ORDER_MOST_PIECES",
        "1000",
        _whole(1, 100_000_000),
        "The most pieces, over all lines, of one order that a customer places. Staff may order more.",
    ),
    Variable(
        "ORDER_MOST_OPEN",
        "100",
        _whole(1, 1_000_000),
        "The most open orders of a customer: those that are pending, or confirmed and not shipped yet.",
    ),
    Variable(
        "HSTS_INCLUDE_SUBDOMAINS",
        "true",
        _choice("true", "false"),
        "Whether HSTS holds for the subdomains of each host, too. `false` if some of them have no HTTPS.",
    ),
    Variable(
        "HSTS_PRELOAD",
        "true",
        _choice("true", "false"),
        "Whether HSTS allows that browsers list the domain as HTTPS only, once somebody submits it. Hard to undo.",
    ),
    Variable(
        "EMAIL_VERIFICATION",
        "",
        _choice("on", "off"),
        "`on`: an address gets mail only after its owner has followed a link. Empty: `on` in production, `off` in "
        "development.",
    ),
    Variable(
        "BREACHED_PASSWORDS",
        "",
        _readable_file,
        "The path of a list of passwords that user-service refuses, besides Django's common ones: one per line, in "
        "lower case, plain or gzip. Each of its processes keeps them in memory.",
    ),
    Variable(
        "ACCOUNT_LINKS_URL",
        "http://localhost:3000",
        _link_base,
        "Where the shop's pages are. Mailed links begin with it: `…/reset-password#token=…` and "
        "`…/verify-email#token=…`; these pages send the token to user-service.",
    ),
    Variable(
        "DATABASE_URL",
        "",
        _database_url,
        "The Postgres server. Empty in development: the embedded server in `.platform/`. If its user is not the "
        "service's role, the service uses its role and a derived password instead.",
        secret=True,
    ),
    Variable(
        "WEB_CONCURRENCY",
        "",
        _whole(1, 64),
        "gunicorn worker processes of each service. Empty: 2 in production, 1 in development.",
    ),
    Variable("WEB_THREADS", "4", _whole(2, 64), "Threads of each worker process."),
    Variable(
        "DRAIN_SECONDS",
        "0",
        _whole(0, 300),
        "How long a web goes on answering after SIGTERM, while `/health/ready` is already 503. The image sets `5`.",
    ),
    Variable(
        "ALLOWED_HOSTS",
        "",
        _words,
        "Allowed Host headers, separated by commas; by default in development local names and the services' names.",
    ),
    Variable(
        "CORS_ALLOWED_ORIGINS",
        "",
        _origins,
        "Origins from which browsers may call the API, separated by commas. In development, local pages always may.",
    ),
    Variable(
        "CURRENCY",
        "USD",
        currency,
        "The currency of all prices, as in ISO 4217; one with two or no decimals. It cannot change: each schema keeps "
        "the one that it began with.",
    ),
    Variable(
        "SHOP_TIME_ZONE",
        "UTC",
        _time_zone,
        "Where the days of reports begin and end. After a change run `manage.py analytics_svc rebuild`.",
    ),
    Variable(
        "CATALOG_MAX_AGE",
        "0",
        _whole(0, 86_400),
        "Seconds for which browsers and proxies may keep products without asking again.",
    ),
    Variable(
        "PENDING_SECONDS",
        "60",
        _whole(1, 3600),
        "The time after which recovery rejects a pending order. It must be longer than any request's deadline.",
    ),
    Variable(
        "IDEMPOTENCY_HOURS",
        "24",
        _whole(1, 8760),
        "How long the answer to a POST with an Idempotency-Key is kept; for orders and notifications without limit.",
    ),
    Variable(
        "EVENT_RETENTION_DAYS",
        "30",
        _whole(1, 3650),
        "How long the feeds keep events, at least; at most twice as long. Events that a known consumer has not read "
        "are kept longer.",
    ),
    Variable(
        "OUTBOX_CONCURRENCY",
        "4",
        _whole(1, 64),
        "How many messages a worker delivers to one destination at once. Each takes a database connection.",
    ),
    Variable(
        "OUTBOX_RETENTION_DAYS", "7", _whole(1, 3650), "How long the outbox keeps the rows of delivered messages."
    ),
    Variable(
        "WEBHOOK_FAILING_DAYS",
        "3",
        _whole(1, 365),
        "A webhook is disabled when all deliveries to it have failed for this many days.",
    ),
    Variable("EMAIL_URL", "consolemail://", _email_url, "The mail server of notification-service.", secret=True),
    Variable(
        "EMAIL_REPLY_SECONDS",
        "300",
        _whole(1, 3600),
        "How long notification-service waits for each reply of the mail server up to DATA (RFC 5321, section 4.5.3.2).",
    ),
    Variable(
        "EMAIL_ACCEPT_SECONDS",
        "600",
        _whole(1, 3600),
        "How long it waits for the reply to the end of a mail. A shorter time risks that a mail is sent twice.",
    ),
    Variable("EMAIL_ATTEMPT_SECONDS", "1200", _whole(1, 7200), "How long the whole attempt to send a mail may take."),
    Variable("DEFAULT_FROM_EMAIL", "shop@example.com", _text, "The sender of that mail."),
    Variable("SHOP_NAME", "Shop", _text, "The shop's name, as mails show it."),
    Variable(
        "MAIL_TEMPLATES",
        "",
        _text,
        "A folder with Django templates that replace those of mails: `order_confirmed.txt`, `order_confirmed.html`, …",
    ),
    *(
        Variable(s.url_variable, s.default_url, _http_url, f"Where peers reach {s.name}; `up` listens on its port.")
        for s in SERVICES
    ),
    *(
        Variable(
            s.public_url_variable,
            "",
            _http_url,
            f"Where browsers reach {s.name}, for links and sign-in. Empty: as {s.url_variable}, under the host that "
            "the browser asked for.",
        )
        for s in SERVICES
    ),
    *(
        Variable(
            s.listen_port_variable,
            "",
            _whole(1, 65535),
            f"The port of {s.name} under `up`, if it differs from its URL's.",
        )
        for s in SERVICES
    ),
    *(
        Variable(
            s.database_url_variable,
            "",
            _database_url,
            f"A separate database for {s.name}; the URL is used unchanged.",
            secret=True,
        )
        for s in SERVICES
    ),
    Variable("PLATFORM_DATA", str(ROOT / ".platform"), _text, "The folder of the embedded Postgres and of `up`."),
)


def read_dotenv() -> None:
    """Read `.env` in the project's root. Variables that are already set take precedence. Raises ConfigurationError."""
    try:
        environ.Env.read_env(ROOT / ".env")
    except (OSError, ValueError) as error:
        raise ConfigurationError([f".env cannot be read: {error}"]) from None


def parsed(environment: Mapping[str, str]) -> dict[str, Any]:
    """The values of VARIABLES by name. An empty variable counts as not set. Raises ConfigurationError."""
    values: dict[str, Any] = {}
    problems = []
    for variable in VARIABLES:
        try:
            text = _given(variable, environment) or variable.default
            values[variable.name] = variable.parse(text) if text else None
        except OSError as error:
            problems.append(f"{variable.name}_FILE: {error.filename} cannot be read: {error.strerror}")
        except ValueError as expected:
            shown = "a secret" if variable.secret else f'"{text}"'
            problems.append(f"{variable.name}: expected {expected}, found {shown}")
    if problems:
        raise ConfigurationError(problems)
    values["WEB_CONCURRENCY"] = values["WEB_CONCURRENCY"] or (2 if values["PLATFORM_ENV"] == "production" else 1)
    return values


def _given(variable: Variable, environment: Mapping[str, str]) -> str:
    """The text of a variable, or of the file of a secret. Raises OSError if the file cannot be read."""
    file = environment.get(f"{variable.name}_FILE") if variable.secret else None
    return environment.get(variable.name) or (Path(file).read_text().strip() if file else "")


def keys_dir(values: Mapping[str, Any]) -> Path:
    """The folder of the services' keys."""
    return Path(values["KEYS_DIR"] or Path(values["PLATFORM_DATA"], "keys"))


def role_password(service: Service, secret_key: str) -> str:
    """The password of a service's role on the server of DATABASE_URL. It is derived from SECRET_KEY and not stored."""
    return hmac.new(secret_key.encode(), f"role:{service.role}".encode(), hashlib.sha256).hexdigest()


def database_parts(service: Service, values: Mapping[str, Any]) -> dict[str, Any] | None:
    """libpq's parameters (``host``, ``user``, ``dbname``, …) of a service's database; None if none is configured."""
    own = values[service.database_url_variable]
    if own:
        return conninfo_to_dict(own)
    if not values["DATABASE_URL"]:
        return None
    parts = conninfo_to_dict(values["DATABASE_URL"])
    if parts.get("user") != service.role:
        if parts.get("password"):
            parts["password"] = role_password(service, values["SECRET_KEY"])
        parts["user"] = service.role
    return parts


def as_url(parts: Mapping[str, Any]) -> str:
    """A URL with libpq's parameters, quoted. A space becomes `%20`, because libpq does not decode `+`."""
    rest = {key: value for key, value in parts.items() if key not in ("user", "password", "dbname")}
    user = quote(str(parts.get("user", "")), safe="")
    password = f":{quote(str(parts['password']), safe='')}" if parts.get("password") else ""
    database = quote(str(parts["dbname"]), safe="")
    return f"postgresql://{user}{password}@/{database}?{urlencode(rest, safe='/', quote_via=quote)}"


def configuration_table() -> str:
    """The variables as a table in Markdown, for the docs."""
    rows = [f"| `{v.name}` | {f'`{shown_default(v)}`' if v.default else '–'} | {v.meaning} |" for v in VARIABLES]
    return "\n".join(["| variable | default | meaning |", "|---|---|---|", *rows])


def shown_default(variable: Variable) -> str:
    """The default for docs and files, with paths relative to the project's root."""
    return variable.default.replace(str(ROOT), ".")
