"""The programs other than Python that tests use. A test is skipped where one is not installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

PATH = f"{os.environ['PATH']}:/usr/local/sbin:/usr/sbin:/sbin"
"""Some programs are in directories that only root has on the PATH."""
PACKAGES = {
    "cc": "gcc",
    "chromedriver": "chromium-driver",
    "promtool": "prometheus",
    "systemd-analyze": "systemd",
    "systemd-sysusers": "systemd",
    "systemd-tmpfiles": "systemd",
}
"""The Debian packages whose programs have another name; all are in .ci/packages."""


Done = subprocess.CompletedProcess[str]


def run(*command: str | Path, seconds: float = 300, **options: Any) -> Done:
    """Run a command to its end. Returns its exit code and what it printed."""
    return subprocess.run(command, capture_output=True, text=True, timeout=seconds, **options)


def program(name: str) -> str:
    """Return the path of a program, or skip the test."""
    path = shutil.which(name, path=PATH)
    if path is None:
        pytest.skip(f"{name} is not installed: apt-get install {PACKAGES.get(name, name)}")
    return path


def c_compiler() -> str:
    """Return the path of a C compiler that finds libcurl, or skip the test."""
    path = program("cc")
    command = [path, "-E", "-include", "curl/curl.h", "-x", "c", "/dev/null"]
    if subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("libcurl is not installed: apt-get install libc6-dev libcurl4-openssl-dev")
    return path


def make_certificate(directory: Path, name: str = "IP:127.0.0.1") -> tuple[Path, Path]:
    """Write a certificate of its own authority, for a host, and its key. Returns their paths."""
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    subprocess.run(
        [
            *(program("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=localhost", "-addext", f"subjectAltName={name}"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    return certificate, key
