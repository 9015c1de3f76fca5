"""Two hosts under load: one is drained, killed, cut off, or the primary of their database is lost."""

import pytest

from tests.cluster.database import ADDRESS

nightly = pytest.mark.nightly


def test_no_request_fails_when_a_host_is_drained_and_comes_back(cluster, load):
    host = cluster.hosts[0]
    with load:
        host.drain()
        load.go_on(15)
        cluster.new_start(host)
        load.go_on(15)
    assert load.journal.failures == []
    load.check()


def test_a_host_that_loses_its_power_breaks_no_promise(cluster, load):
    host = cluster.hosts[1]
    with load:
        host.lose_power()
        load.lost_workers += 1
        load.go_on(30)
        cluster.database.await_no_connections_of(host.machine, 60)
        cluster.new_start(host)
        load.go_on(10)
    load.check()


def test_the_standby_is_promoted_and_no_acknowledged_order_is_lost(cluster, load):
    database = cluster.database
    with load:
        database.lose_primary()
        load.lost_workers += len(cluster.hosts)
        database.fail_over()
        load.go_on(20)
        database.get_standby()
        load.go_on(10)
    load.check()


@nightly
@pytest.mark.parametrize("ways", ["both", "questions", "answers"])
def test_a_host_that_is_cut_off_from_postgres_breaks_no_promise(cluster, load, ways):
    host = cluster.hosts[0]
    there, back = (host.machine.address, ADDRESS), (ADDRESS, host.machine.address)
    with load:
        with cluster.network.cut(*{"both": (there, back), "questions": (there,), "answers": (back,)}[ways]):
            load.lost_workers += 1
            load.go_on(30)
        cluster.await_well()
        load.go_on(10)
    load.check()


@nightly
@pytest.mark.parametrize("ways", ["both", "one"])
def test_hosts_that_are_cut_off_from_each_other_break_no_promise(cluster, load, ways):
    one, other = (host.machine.address for host in cluster.hosts)
    with load:
        with cluster.network.cut(*[(one, other), (other, one)][: 2 if ways == "both" else 1]):
            load.go_on(30)
        cluster.await_well()
        load.go_on(10)
    load.check()


@nightly
def test_a_network_that_loses_packets_breaks_no_promise(cluster, load):
    with load:
        with cluster.network.losing(0.1, *(host.machine for host in cluster.hosts)):
            load.lost_workers += len(cluster.hosts)
            load.go_on(20, 120)
        cluster.await_well()
        load.go_on(10)
    load.check()
