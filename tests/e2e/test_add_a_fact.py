"""Adds a field as CONTRIBUTING describes, in a copy of the project: model, serializer, migration."""

from pathlib import Path

import pytest

from platform_core.conf.environment import EXIT_CODE
from tests.e2e.scratch.copy import Copy
from tests.e2e.stack import slow
from tests.ports import free_ports

NOWHERE = "postgresql://nobody@localhost/none"


@pytest.fixture
def project(folder: Path, request: pytest.FixtureRequest) -> Copy:
    copy = folder / request.node.name
    copy.mkdir()
    return Copy(copy)


def test_a_products_new_field_is_there_everywhere(project):
    project.add("product_svc/models.py", "sku =", 'brand = models.CharField(max_length=100, blank=True, default="")')
    project.add("product_svc/serializers.py", "sku = SkuField", "brand = OptionalStringField(max_length=100)")
    project.succeeds("manage.py", "product_svc", "makemigrations", DATABASE_URL=NOWHERE)
    assert "all of it" in project.succeeds("-m", "tests.e2e.scratch.product_with_a_brand")


@pytest.mark.nightly
def test_a_users_new_field_is_there_everywhere_but_in_events(project):
    project.add("user_svc/models.py", "phone =", 'language = models.CharField(max_length=8, blank=True, default="")')
    project.add("user_svc/serializers.py", "phone =", "language = OptionalStringField(max_length=8)")
    project.succeeds("manage.py", "user_svc", "makemigrations", DATABASE_URL=NOWHERE)
    assert "all of it" in project.succeeds("-m", "tests.e2e.scratch.user_with_a_language")


@pytest.mark.parametrize("how", ["check", slow("worker"), slow("web")])
def test_nothing_starts_with_a_channel_that_has_no_handler(project, how):
    project.add("platform_core/vocabulary.py", 'LOG = "log"', 'PIGEON = "pigeon"')
    commands = {
        "check": ["manage.py", "notification_svc", "check"],
        "worker": ["manage.py", "notification_svc", "worker"],
        "web": ["-m", "gunicorn", "--config", "deploy/gunicorn.conf.py"],
    }
    settings = {"DJANGO_SETTINGS_MODULE": "notification_svc.settings", "DATABASE_URL": NOWHERE}
    done = project.run(*commands[how], **settings, PORT=str(free_ports(1)[0]))
    assert done.returncode == (EXIT_CODE if how == "web" else 1), done.stdout
    assert "notification_svc.E001" in done.stdout
    assert "'pigeon' has no handler" in done.stdout
