"""The wheel, and the files in etc/ for systemd and logrotate, tested with those programs."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.programs import program
from tests.support.waiting import wait_until

from .engine_process import Engine

ROOT = Path(__file__).parents[2]
ETC = ROOT / "etc"


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("name", ["provision-engine.service", "provision-engine-reconcile.timer"])
def test_systemd_accepts_the_units(tmp_path: Path, name: str) -> None:
    command = program("systemd-analyze")
    for unit in ETC.glob("provision-engine*.*"):
        # The program itself is not installed here, which is not an error of the unit.
        text = unit.read_text().replace("/usr/local/bin/provision-engine", "/bin/true")
        (tmp_path / unit.name).write_text(text)
    done = run(command, "verify", "--man=no", str(tmp_path / name))
    assert (done.returncode, done.stderr) == (0, "")


def test_systemd_rates_the_service_as_hardened() -> None:
    done = run(
        program("systemd-analyze"),
        "security",
        "--offline=true",
        "--threshold=20",
        str(ETC / "provision-engine.service"),
    )
    found = re.search(r"exposure level for provision-engine.service: (\d+\.\d)", done.stdout)
    assert found, done.stdout + done.stderr
    assert float(found[1]) <= 2.0
    assert done.returncode == 0


def test_systemd_is_notified_when_the_engine_responds(engine: Engine, tmp_path: Path) -> None:
    engine.stop()
    address = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(address))
        listener.settimeout(30)
        engine.start({"NOTIFY_SOCKET": str(address)})
        assert listener.recv(4096).startswith(b"READY=1")


def test_systemd_accepts_sysusers_and_tmpfiles(tmp_path: Path) -> None:
    done = run(program("systemd-sysusers"), "--dry-run", str(ETC / "sysusers.conf"))
    assert done.returncode == 0, done.stderr
    assert "provision-engine" in done.stdout + done.stderr
    # tmpfiles has no dry run: it creates the directories below another root, as its owner.
    text = (ETC / "tmpfiles.conf").read_text()
    file = tmp_path / "tmpfiles.conf"
    file.write_text(text.replace("provision-engine provision-engine -", "- - -"))
    done = run(program("systemd-tmpfiles"), "--create", f"--root={tmp_path}", str(file))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "var/log/provision-engine").stat().st_mode & 0o777 == 0o750
    assert (tmp_path / "run/provision-engine").is_dir()


def test_the_engine_continues_after_logrotate_moves_its_files(
    engine: Engine, tmp_path: Path
) -> None:
    command = program("logrotate")
    logs = engine.directory / "logs"
    logs.chmod(0o750)
    file = tmp_path / "logrotate"
    text = (ETC / "logrotate").read_text().replace("/var/log/provision-engine", str(logs))
    file.write_text(text)
    file.chmod(0o644)
    tried = run(command, "-d", str(file))
    assert tried.returncode == 0
    assert "error" not in tried.stderr.lower()
    assert "considering log" in tried.stderr
    # A line is written after its response.
    wait_until(lambda: "/healthz" in _text(logs))
    rotated = run(command, "-f", "-s", str(tmp_path / "state"), str(file))
    assert rotated.returncode == 0, rotated.stderr
    before = (logs / "api.log.1").read_text()
    engine.call("GET", "/server/version")
    wait_until(lambda: (logs / "api.log").exists() and "/server/version" in _text(logs))
    assert (logs / "api.log.1").read_text() == before


def _text(logs: Path) -> str:
    return (logs / "api.log").read_text()


def test_a_wheel_contains_everything_that_is_served(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("provision_engine", "setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        path = ROOT / name
        (shutil.copytree if path.is_dir() else shutil.copy)(path, source / name)
    done = run(
        *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"),
        *("--wheel-dir", str(tmp_path), str(source)),
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())
    files = [path for path in (ROOT / "provision_engine").rglob("*") if path.is_file()]
    served = {str(path.relative_to(ROOT)) for path in files if path.suffix != ".pyc"}
    assert len(served) > 50
    assert served <= packed
