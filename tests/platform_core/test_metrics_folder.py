"""The files that share counters: few, allocated in advance, and no reason for a process to end."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from platform_core.conf.environment import ROOT
from platform_core.observability import forget_the_dead, metrics_files
from platform_core.observability import metrics_endpoint as scraping
from tests.scrapes import Scrape

COUNTING = """
import sys
from platform_core.observability import metrics
metrics.peer_breakers_open.labels("p").set(1)
metrics.peer_retries.labels("p").inc()
print("counted", flush=True)
sys.stdin.read()
"""
FILLING = """
import os, sys
from pathlib import Path
from platform_core.observability import metrics
folder = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])
metrics.peer_retries.labels("p").inc()
try:
    with (folder.parent / "rest").open("wb", buffering=0) as rest:
        while True:
            rest.write(bytes(4096))
except OSError as error:
    print(error)
for number in range(100):
    metrics.observe_request("GET", f"/{number}", 200, 0.1)
    metrics.observe_call(f"peer-{number}", "ok", 0.1)
metrics.peer_breakers_open.labels("p").set(1)
"""


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder), "PYTHONPATH": str(ROOT)}


def run(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], env=environment(folder), input="", capture_output=True, text=True, timeout=60
    )


@contextmanager
def counting(folder: Path):
    """A process that has counted, and waits."""
    with subprocess.Popen(
        [sys.executable, "-c", COUNTING],
        env=environment(folder),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "counted\n"
        yield process
        with suppress(ProcessLookupError):
            process.kill()


def scraped(folder: Path, monkeypatch) -> Scrape:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(folder))
    forget_the_dead()
    return Scrape(scraping.counted().decode())


def test_the_folder_is_made_before_the_first_series(tmp_path):
    folder = tmp_path / "not" / "there"
    done = run("import platform_core.observability.metrics", folder)
    assert done.returncode == 0, done.stderr
    assert list(folder.iterdir())


def test_a_killed_process_leaves_its_counters_but_not_its_gauges(tmp_path, monkeypatch):
    with counting(tmp_path) as process:
        assert scraped(tmp_path, monkeypatch).one("peer_breakers_open", peer="p") == 1
        process.send_signal(signal.SIGKILL)
        process.wait()
    found = scraped(tmp_path, monkeypatch)
    assert found.all("peer_breakers_open", peer="p") == []
    assert found.one("peer_retries_total", peer="p") == 1


def test_killed_processes_leave_no_files_behind_them_and_nothing_is_counted_twice(tmp_path, monkeypatch):
    with counting(tmp_path), counting(tmp_path):
        files = len(list(tmp_path.iterdir()))
    for _ in range(5):
        with counting(tmp_path), counting(tmp_path):
            pass
    assert len(list(tmp_path.iterdir())) == files
    assert scraped(tmp_path, monkeypatch).one("peer_retries_total", peer="p") == 12


def test_a_forked_child_has_files_of_its_own(tmp_path, monkeypatch):
    child = "if os.fork() == 0: metrics.peer_retries.labels('p').inc(); os._exit(0)"
    forking = COUNTING.replace("print(", f"import os\n{child}\nos.wait()\nprint(")
    assert run(forking, tmp_path).returncode == 0
    assert scraped(tmp_path, monkeypatch).one("peer_retries_total", peer="p") == 2


def test_all_space_is_allocated_before_it_is_used(tmp_path):
    run("import platform_core.observability.metrics", tmp_path)
    for path in tmp_path.glob("*.db"):
        assert path.stat().st_blocks * 512 >= path.stat().st_size, path.name
    assert {path.stem.rpartition("_")[0] for path in tmp_path.glob("*.db")} == set(metrics_files.SIZES)


@pytest.fixture
def small_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("a small disk can only be made by root: not tried here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_process_whose_disk_fills_up_goes_on(small_disk):
    done = run(FILLING, small_disk / "metrics")
    assert "No space left" in done.stdout
    assert done.returncode == 0, done.stderr


def test_a_process_that_starts_on_a_full_disk_starts(small_disk):
    (small_disk / "rest").write_bytes(bytes(4 * 1024 * 1024 - 16 * 1024))
    done = run(COUNTING, small_disk / "metrics")
    assert "counted" in done.stdout
    assert done.returncode == 0, done.stderr
    assert "metrics.disk_full" in done.stderr + done.stdout


def test_the_series_of_a_service_fit(tmp_path):
    """More routes than any service has, each with every method and many statuses."""
    code = """
from platform_core.observability import metrics
for route in range(60):
    for method in ("GET", "PUT", "PATCH", "DELETE"):
        for status in (200, 400, 404, 409, 503):
            metrics.observe_request(method, f"/api/some-longer-resources/{route}/{{pk}}", status, 0.1)
"""
    assert run(code, tmp_path).returncode == 0
    for path in tmp_path.glob("*.db"):
        assert path.stat().st_size == metrics_files.SIZES[path.stem.rpartition("_")[0]], path.name
