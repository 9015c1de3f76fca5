"""A web process starts even if the folder of its metrics is missing, as in a container with an empty /tmp."""

import os
import subprocess
import sys

from platform_core.conf.environment import ROOT


def test_the_folder_of_the_metrics_is_made_before_the_first_series(tmp_path):
    folder = tmp_path / "not" / "there"
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", "import platform_core.observability.metrics"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert list(folder.iterdir())
