"""gunicorn's configuration for all services. `docs/configuration.md` describes the variables."""

import gc
import json
import logging.config
import os
import secrets
import signal
import sys

import gunicorn.glogging
import gunicorn.util
from django.conf import settings

from platform_core.conf import EXIT_CODE, ConfigurationError, parsed, production
from platform_core.http import phrase
from platform_core.observability import logging_config, tracing
from platform_core.stack import SOCKET, die_with_parent, warn_when_short
from platform_core.topology import BY_PACKAGE

service = BY_PACKAGE.get(os.environ.get("DJANGO_SETTINGS_MODULE", "").removesuffix(".settings"))
if service is None:
    modules = ", ".join(each.settings_module for each in BY_PACKAGE.values())
    print(f"DJANGO_SETTINGS_MODULE: expected one of {modules}", file=sys.stderr)
    sys.exit(EXIT_CODE)
try:
    values = parsed(os.environ)
    name, log_format = values["SERVICE_NAME"] or service.name, values["LOG_FORMAT"] or "json"
    logconfig_dict = logging_config(name, values["LOG_LEVEL"], log_format)
    logging.config.dictConfig(logconfig_dict)
    production.check(settings)
    production.warn(settings)
except ConfigurationError as error:
    for problem in error.problems:
        print(f"{service.name} cannot start: {problem}", file=sys.stderr)
    sys.exit(EXIT_CODE)

wsgi_app = "platform_core.wsgi:application"
proc_name = service.name
inherited = os.environ.get(SOCKET)  # of `manage.py up`, which keeps it open while a web is replaced
bind = f"fd://{inherited}" if inherited else f"{values['BIND_HOST']}:{values['PORT'] or service.port}"
worker_class = "gthread"
workers = values["WEB_CONCURRENCY"]
threads = values["WEB_THREADS"]
preload_app = True

# Longer than peers keep an idle connection, so that they never send a request on a connection that is being closed.
keepalive = 75
timeout = 60
graceful_timeout = 30

# No header may change the path of a request. Without a proxy in front, no client may claim to be one.
forwarder_headers = ""
if values["PLATFORM_ENV"] == "development":
    secure_scheme_headers = {}

limit_request_line = 8190
limit_request_fields = 100
limit_request_field_size = 8190

worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108  # so that heartbeats do not use the disk
# gunicorn's control socket has one path in $HOME, which the five services would overwrite for each other.
control_socket_disable = True


class Logger(gunicorn.glogging.Logger):
    """Writes no access log, because the middleware logs each request."""

    def access(self, resp, req, environ, request_time):
        pass


logger_class = Logger


def write_problem(sock, status, reason, message):
    """Sends gunicorn's own errors, such as that for a malformed header, as problem+json."""
    title = phrase(status)
    problem = {"type": "about:blank", "title": title, "status": status, "detail": f"{reason}. {message}".strip()}
    problem |= {"code": "invalid" if status < 500 else "internal_error", "requestId": secrets.token_hex(16)}
    body = json.dumps(problem).encode()
    head = (
        f"HTTP/1.1 {status} {title}\r\nConnection: close\r\nContent-Type: application/problem+json\r\n"
        f"X-Request-ID: {problem['requestId']}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    gunicorn.util.write_nonblock(sock, head.encode("latin-1") + body)


gunicorn.util.write_error = write_problem  # there is no setting for it; see docs/decisions/0012-private-apis.md


def on_starting(server):
    from platform_core.observability import forget_the_dead

    forget_the_dead()


def when_ready(server):
    """Keeps the garbage collector away from everything loaded so far, so that workers share its memory pages."""
    gc.collect()
    gc.freeze()


def post_fork(server, worker):
    die_with_parent(signal.SIGKILL)  # a worker that is stopped (SIGSTOP) does not take SIGTERM
    tracing.start(values["SERVICE_NAME"] or service.name)


def post_worker_init(worker):
    if worker.age == 1 and not os.environ.get(production.ANNOUNCED):  # the first; `up` has looked itself
        warn_when_short(service, values)
    from platform_core.observability import health

    health.await_readiness(lambda: worker.alive)


def worker_exit(server, worker):
    tracing.stop()


def child_exit(server, worker):
    from platform_core.observability import forget_the_dead

    forget_the_dead()
