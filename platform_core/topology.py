"""The services. Settings, clients, the supervisor, the tests and the docs read this list; nothing else repeats it.

After a change run `make generate`, which writes the files that list the services by name.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Service:
    """One service: a Django project in ``package``, known to its peers and in logs as ``name``."""

    package: str
    port: int
    has_worker: bool = False
    has_feed: bool = True
    duties: int = 4
    """The most background duties of its worker, each with a connection to the database."""
    lanes: int = 0
    """The destinations to which its worker delivers, each with several connections to the database."""
    purpose: str = ""
    """A short description of the service, for the tables in the docs."""

    @property
    def stem(self) -> str:
        """The package's name without ``_svc``, such as ``order``."""
        return self.package.removesuffix("_svc")

    @property
    def name(self) -> str:
        """The name on the network, such as ``order-service``."""
        return f"{self.stem}-service"

    @property
    def title(self) -> str:
        """The name in the bar of all pages, such as ``Orders``."""
        return self.stem.capitalize() if self.stem.endswith("s") else f"{self.stem.capitalize()}s"

    @property
    def role(self) -> str:
        """The Postgres role and, by the same name, the schema that it owns."""
        return self.package

    @property
    def settings_module(self) -> str:
        """The module for DJANGO_SETTINGS_MODULE."""
        return f"{self.package}.settings"

    @property
    def access_module(self) -> str:
        """The module with the service's access rules (`platform_core.auth.rules`)."""
        return f"{self.package}.access"

    @property
    def url_variable(self) -> str:
        """The variable with the URL under which peers reach the service."""
        return f"{self.stem.upper()}_SERVICE_URL"

    @property
    def public_url_variable(self) -> str:
        """The variable with the URL under which browsers reach the service, if it differs from the peers'."""
        return f"{self.stem.upper()}_PUBLIC_URL"

    @property
    def listen_port_variable(self) -> str:
        """The variable with the port under `manage.py up`, if it differs from the URL's."""
        return f"{self.stem.upper()}_LISTEN_PORT"

    @property
    def database_url_variable(self) -> str:
        """The variable with the URL of a separate database."""
        return f"{self.stem.upper()}_DATABASE_URL"

    @property
    def direct_url_variable(self) -> str:
        """The variable with the URL of the database past a pooler."""
        return f"{self.stem.upper()}_DIRECT_URL"

    @property
    def default_url(self) -> str:
        """The URL in development."""
        return f"http://127.0.0.1:{self.port}"

    def url(self, environ: Mapping[str, str]) -> str:
        """Where peers reach the service, without a trailing slash."""
        return (environ.get(self.url_variable) or self.default_url).rstrip("/")


USER = Service("user_svc", 8001, has_worker=True, duties=5, lanes=1, purpose="accounts, profiles, sign-in")
PRODUCT = Service("product_svc", 8002, has_worker=True, duties=2, purpose="catalog, stock, stock reservations")
ORDER = Service("order_svc", 8003, has_worker=True, duties=5, lanes=2, purpose="orders, and the saga that places one")
NOTIFICATION = Service(
    "notification_svc", 8004, has_worker=True, duties=5, lanes=2, purpose="messages to customers, and their delivery"
)
ANALYTICS = Service(
    "analytics_svc", 8005, has_worker=True, has_feed=False, duties=1, purpose="figures over the events of all services"
)

SERVICES = (USER, PRODUCT, ORDER, NOTIFICATION, ANALYTICS)
BY_PACKAGE = {service.package: service for service in SERVICES}
BY_NAME = {service.name: service for service in SERVICES}
