"""Two hosts under load: one is drained, killed or cut off, their primary is lost, another version is deployed."""

import random
import time
from pathlib import Path

import pytest

from platform_core.topology import PRODUCT
from tests.cluster import scenarios
from tests.cluster.scenarios import AT_NIGHT, EVERY_DAY, Scenario
from tests.e2e.scratch.copy import Copy
from tests.e2e.stack import Shop, slow

SAVED_BY_ONE_RETRY = {scenarios.drain}
NOWHERE = "postgresql://nobody@localhost/none"


@pytest.mark.parametrize("scenario", [*EVERY_DAY, *map(slow, AT_NIGHT)], ids=lambda each: each.__name__)
def test_no_promise_is_broken(cluster, load, seed, scenario: Scenario):
    with load:
        scenario(cluster, load, random.Random(seed).choice(cluster.hosts))
    assert scenario not in SAVED_BY_ONE_RETRY or load.journal.failures == []
    load.check()


@pytest.fixture(scope="module")
def next_version(resources) -> Copy:
    """The project, and a product has one more field."""
    copy = Copy(Path(resources.folder))
    column = 'brand = models.CharField(max_length=100, blank=True, default="", db_default="")'
    copy.add("product_svc/models.py", "sku =", column)
    copy.add("product_svc/serializers.py", "sku = SkuField", "brand = OptionalStringField(max_length=100)")
    copy.succeeds("manage.py", "product_svc", "makemigrations", DATABASE_URL=NOWHERE)
    return copy


@pytest.mark.nightly
def test_another_version_with_one_more_column_is_deployed_and_no_request_fails(cluster, load, next_version):
    product = {"name": "Lamp", "price": 1, "stock": 1}
    with load:
        cluster.root = next_version.folder
        migrated = cluster.run("migrate")
        assert migrated.returncode == 0, migrated.stderr
        old = Shop(cluster.hosts[1]).made(PRODUCT, "/api/products", **product)
        assert "brand" not in old
        for host in cluster.hosts:
            host.root = next_version.folder
            host.drain()
            host.come_back()
            load.go_on(15)
    assert load.journal.failures == []
    for host in cluster.hosts:
        assert Shop(host).made(PRODUCT, "/api/products", **product, brand="Bright")["brand"] == "Bright"
        assert Shop(host).get(PRODUCT, f"/api/products/{old['id']}")["brand"] == ""
    load.check()


def test_one_fault_after_the_other(cluster, load, seed, request):
    """For `--minutes`. Each fault is over when the next one begins."""
    until = time.monotonic() + request.config.getoption("--minutes") * 60
    chance = random.Random(seed)
    with load:
        while time.monotonic() < until:
            scenario = chance.choice([*EVERY_DAY, *AT_NIGHT])
            load.journal.count(f"times: {scenario.__name__.replace('_', ' ')}")
            scenario(cluster, load, chance.choice(cluster.hosts))
    load.check()
