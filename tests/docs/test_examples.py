"""The devices in examples/ live one runtime's life against a sandbox, all with the same words."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from provision_engine import config

from .pages import LIMIT_SECONDS, ROOT, Site

EXAMPLES = ROOT / "examples"


def c_device(directory: Path) -> list[str]:
    """The C example, compiled as its first lines say; skips where that cannot be."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler: apt-get install gcc")
    probe = subprocess.run(
        [compiler, "-E", "-"], input="#include <curl/curl.h>\n", capture_output=True, text=True
    )
    if probe.returncode != 0:
        pytest.skip("no headers of libcurl: apt-get install libcurl4-openssl-dev")
    program = directory / "device"
    command = [compiler, "-Wall", "-Wextra", "-Werror", "-o", str(program)]
    subprocess.run([*command, str(EXAMPLES / "device.c"), "-lcurl"], check=True)
    return [str(program)]


def device(language: str, directory: Path) -> list[str]:
    if language == "c":
        return c_device(directory)
    if language == "shell":
        if shutil.which("curl") is None:
            pytest.skip("no curl: apt-get install curl")
        return [str(EXAMPLES / "device.sh")]
    return [sys.executable, str(EXAMPLES / "device.py")]


def run(command: list[str], **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], **settings}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=LIMIT_SECONDS
    )


@pytest.mark.parametrize("language", ["python", "shell", "c"])
def test_a_device_lives_a_runtimes_life(language: str, site: Site, tmp_path: Path) -> None:
    done = run(device(language, tmp_path), ENGINE=site.engine_url)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "created runtime 12",
        "RUNNING at 10.0.0.1",
        "resized to 2 cores",
        "deleted",
    ]
    assert done.returncode == 0
    assert "one.vm.resize" in [call.method for call in site.sandbox.calls]
    assert site.sandbox.store.documents() == []


@pytest.mark.parametrize("language", ["python", "shell", "c"])
def test_a_device_tells_why_it_was_refused(language: str, site: Site, tmp_path: Path) -> None:
    done = run(device(language, tmp_path), ENGINE=site.engine_url, ENGINE_PASSWORD='wr"on\\g')
    assert done.returncode == 1
    assert "401: " in done.stderr
    assert "Authentication failed" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("language", ["python", "shell", "c"])
def test_a_device_gives_back_what_failed(language: str, site: Site, tmp_path: Path) -> None:
    site.sandbox.faults.set_text("driver:boot:fails")
    done = run(device(language, tmp_path), ENGINE=site.engine_url)
    assert done.returncode == 1
    assert "BOOT_FAILURE" in done.stderr
    assert done.stdout.splitlines()[-1] == "deleted"
    assert site.sandbox.store.documents() == []


def test_the_configuration_to_try_with_fits_the_sandbox() -> None:
    found = config.load(EXAMPLES / "engine.conf")
    assert (found.host, found.port) == ("127.0.0.1", 1337)
    assert found.one_xmlrpc == "http://127.0.0.1:2633/RPC2"
    assert found.oneflow_server == "http://127.0.0.1:2474"
