"""The wheel, and the files in etc/ for systemd and logrotate, tested with those programs."""

from __future__ import annotations

import grp
import gzip
import os
import pwd
import shutil
import socket
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

from tests.support.engine import EngineProcess
from tests.support.programs import program, run
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]
ETC = ROOT / "etc"
INSTALLED = "/opt/provision-engine/venv/bin/provision-engine"
SERVICES = ("provision-engine.service", "provision-engine-reconcile.service")


@pytest.mark.parametrize("name", ["provision-engine.service", "provision-engine-reconcile.timer"])
def test_systemd_accepts_the_units(tmp_path: Path, name: str) -> None:
    command = program("systemd-analyze")
    for unit in ETC.glob("provision-engine*.*"):
        # The program itself is not installed here, which is not an error of the unit.
        (tmp_path / unit.name).write_text(unit.read_text().replace(INSTALLED, "/bin/true"))
    done = run(command, "verify", "--man=no", str(tmp_path / name))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", SERVICES)
def test_systemd_rates_the_services_as_hardened(name: str) -> None:
    command = program("systemd-analyze")
    done = run(command, "security", "--offline=true", "--threshold=15", str(ETC / name))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"exposure level for {name}: " in done.stdout


@pytest.mark.parametrize("name", SERVICES)
def test_the_services_run_the_installed_program_as_no_other_service_s_user(name: str) -> None:
    lines = (ETC / name).read_text().splitlines()
    assert any(line.startswith(f"ExecStart={INSTALLED} ") for line in lines)
    assert {"User=provision-engine", "DynamicUser=yes"} & set(lines)
    assert {line for line in lines if line.startswith("User=")} <= {"User=provision-engine"}


def test_systemd_is_notified_when_the_engine_responds(
    engine: EngineProcess, tmp_path: Path
) -> None:
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


def rotation(logs: Path, user: int, group: int, file: Path) -> list[str]:
    """The command that rotates the logs in a directory, as that of an owner."""
    owner = (pwd.getpwuid(user).pw_name, grp.getgrgid(group).gr_name)
    text = (ETC / "logrotate").read_text().replace("/var/log/provision-engine", str(logs))
    text = text.replace(" provision-engine provision-engine", " {} {}".format(*owner))
    file.write_text(text.replace("provision-engine:provision-engine", ":".join(owner)))
    file.chmod(0o644)
    return [program("logrotate"), "-f", "-s", str(file.with_name("state")), str(file)]


def test_the_engine_continues_after_logrotate_moves_its_files(
    engine: EngineProcess, tmp_path: Path
) -> None:
    logs = engine.directory / "logs"
    command = rotation(logs, os.geteuid(), os.getegid(), tmp_path / "logrotate")
    # A line is written after its response.
    wait_until(lambda: "/healthz" in _text(logs))
    rotated = run(*command)
    assert (rotated.returncode, rotated.stderr) == (0, "")
    before = (logs / "api.log.1").read_text()
    engine.request("GET", "/server/version")
    wait_until(lambda: (logs / "api.log").exists() and "/server/version" in _text(logs))
    assert (logs / "api.log.1").read_text() == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can rotate another user's logs")
def test_logs_are_rotated_as_the_user_who_may_write_to_their_directory() -> None:
    """Also those of an engine that root started; root itself would refuse such a directory."""
    nobody = pwd.getpwnam("nobody")
    with tempfile.TemporaryDirectory() as name:
        directory, logs = Path(name), Path(name) / "logs"
        directory.chmod(0o755)
        logs.mkdir()
        os.chown(logs, nobody.pw_uid, nobody.pw_gid)
        logs.chmod(0o777)
        command = rotation(logs, nobody.pw_uid, nobody.pw_gid, directory / "logrotate")
        for number in range(2):
            (logs / "engine.log").write_text(f"{number}\n")
            (logs / "engine.log").chmod(0o600)
            done = run(*command)
            assert (done.returncode, done.stderr) == (0, "")
        assert (logs / "engine.log.1").read_text() == "1\n"
        assert gzip.decompress((logs / "engine.log.2.gz").read_bytes()) == b"0\n"
        assert {path.stat().st_uid for path in logs.iterdir()} == {nobody.pw_uid}


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
