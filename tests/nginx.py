"""nginx with the configuration of production, but for its ports, paths and services."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from platform_core.conf.environment import ROOT

TEXT = (ROOT / "deploy" / "nginx" / "nginx.conf").read_text()
NGINX = os.environ.get("NGINX_PROGRAM") or shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")


def configured(folder: Path, address: str, plain: int, port: int, replaced: Mapping[str, str]) -> list[str]:
    """Write the configuration, and a certificate for the address, into the folder. Returns the command to start nginx.

    It listens on ``plain`` without TLS and on ``port`` with it. ``replaced``: further texts, such as services, and what
    stands there instead.
    """
    certificate, key = folder / "certificate", folder / "key"
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    subject = ["-subj", "/CN=localhost", "-addext", f"subjectAltName=IP:{address}", "-keyout", key, "-out", certificate]
    subprocess.run([*make, *subject], check=True, capture_output=True)
    text = re.sub(r"(?<= )/tmp/", f"{folder}/", TEXT)
    text = re.sub(r"listen \[::\][^;]*;", "", text)
    places = {
        "/run/secrets/tls_certificate": str(certificate),
        "/run/secrets/tls_key": str(key),
        "listen 8080": f"listen {address}:{plain}",
        "listen 8443": f"listen {address}:{port}",
        "worker_rlimit_nofile 16384;": "worker_rlimit_nofile 1024;",
        "4096": "200",
        "/dev/stderr": f"{folder}/errors",
        "/dev/stdout": f"{folder}/log",
    }
    for before, after in {**places, **replaced}.items():
        assert before in text, before
        text = text.replace(before, after)
    (folder / "nginx.conf").write_text(f"daemon off;\n{'user root;' if os.geteuid() == 0 else ''}\n{text}")
    assert NGINX
    return [NGINX, "-e", str(folder / "errors"), "-c", str(folder / "nginx.conf")]
