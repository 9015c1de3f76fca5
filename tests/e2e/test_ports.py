import subprocess
import sys

from platform_core.conf.environment import ROOT
from tests.ports import free_ports


def test_suites_that_run_side_by_side_are_given_different_ports():
    mine = {*free_ports(5), *free_ports(5)}
    code = "from tests.ports import free_ports; print(*free_ports(5))"
    theirs = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert len(mine) == 10
    assert mine.isdisjoint(map(int, theirs.split()))
