"""What happens to the cluster while clients order. Each scenario ends with all of it well again."""

from collections.abc import Callable

from tests.cluster.database import ADDRESS
from tests.cluster.hosts import Cluster, Host
from tests.cluster.load import Load

TROUBLE_SECONDS = 10.0
"""Longer than the usual deadline of a request, so that it passes for some that have met the trouble."""
Scenario = Callable[[Cluster, Load, Host], None]
DEAD_CONNECTIONS_SECONDS = 60.0
"""How long Postgres may keep the connections of a host that has lost its power."""


def drain(cluster: Cluster, load: Load, host: Host) -> None:
    """The host is stopped as an operator does it, and started again."""
    host.drain()
    load.go_on(15)
    host.come_back()
    load.go_on(15)


def lose_power(cluster: Cluster, load: Load, host: Host) -> None:
    """All processes of the host are gone, and no peer is told, Postgres included."""
    host.lose_power()
    load.lost_workers += 1
    load.go_on(30)
    cluster.database.await_no_connections_of(host.machine, DEAD_CONNECTIONS_SECONDS)
    host.come_back()
    load.go_on(10)


def fail_over(cluster: Cluster, load: Load, host: Host) -> None:
    """The standby is cut off, then the primary loses its power, and the standby is promoted. It gets another one."""
    cluster.database.lose_primary(seconds_behind=2.0)
    load.lost_workers += len(cluster.hosts)
    cluster.database.fail_over()
    load.go_on(20)
    cluster.database.get_standby()
    load.go_on(10)


def cut_from_postgres(cluster: Cluster, load: Load, host: Host) -> None:
    cut(cluster, load, (host.machine.address, ADDRESS), (ADDRESS, host.machine.address))


def cut_questions_to_postgres(cluster: Cluster, load: Load, host: Host) -> None:
    cut(cluster, load, (host.machine.address, ADDRESS))


def cut_answers_of_postgres(cluster: Cluster, load: Load, host: Host) -> None:
    """Postgres does what the host asks, but the host does not hear of it."""
    cut(cluster, load, (ADDRESS, host.machine.address))


def cut_hosts_off(cluster: Cluster, load: Load, host: Host) -> None:
    one, other = (each.machine.address for each in cluster.hosts)
    cut(cluster, load, (one, other), (other, one))


def cut_one_way(cluster: Cluster, load: Load, host: Host) -> None:
    """What the host sends to the other one does not arrive. What it is sent does."""
    (other,) = (each for each in cluster.hosts if each is not host)
    cut(cluster, load, (host.machine.address, other.machine.address))


def cut_answers_to_clients(cluster: Cluster, load: Load, host: Host) -> None:
    """The host does what clients ask, but they do not hear of it."""
    cut(cluster, load, (host.machine.address, cluster.front.machine.address))


def lose_packets(cluster: Cluster, load: Load, host: Host) -> None:
    """A tenth of what is sent to the hosts is lost."""
    with cluster.network.losing(0.1, *(each.machine for each in cluster.hosts)):
        load.lost_workers += len(cluster.hosts)
        load.go_on(30, 150, at_least=TROUBLE_SECONDS)
    recover(cluster, load)


def cut(cluster: Cluster, load: Load, *ways: tuple[str, str]) -> None:
    """Nothing gets from the first address of a pair to the second for some time."""
    with cluster.network.cut(*ways):
        load.lost_workers += 1
        load.go_on(30, at_least=TROUBLE_SECONDS)
    recover(cluster, load)


def recover(cluster: Cluster, load: Load) -> None:
    cluster.await_well()
    load.go_on(10)


EVERY_DAY: tuple[Scenario, ...] = (drain, lose_power, fail_over)
AT_NIGHT: tuple[Scenario, ...] = (
    cut_from_postgres,
    cut_questions_to_postgres,
    cut_answers_of_postgres,
    cut_hosts_off,
    cut_one_way,
    cut_answers_to_clients,
    lose_packets,
)
