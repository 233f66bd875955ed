"""install.sh in all its forms, in a temporary directory (DESTDIR)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from provision_engine import __version__
from tests.support.ports import free_port
from tests.support.programs import Done, run

SCRIPT = Path(__file__).parents[2] / "install.sh"
PARTS = ("install.sh", "provision_engine", "etc", "setup.cfg", "pyproject.toml")
PARTS += ("README.md", "LICENSE")
LIBRARIES = ("click", "flask", "gunicorn", "jsonschema", "lxml", "pip", "pyone", "requests", "yaml")
LIBRARIES += ("prometheus_client", "provision_engine", "setuptools")
IS_ROOT = os.geteuid() == 0
as_root = pytest.mark.skipif(not IS_ROOT, reason="only root refuses what others can write to")


class Installation:
    """What install.sh creates below one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.opt = directory / "opt/provision-engine"
        self.command = directory / "usr/local/bin/provision-engine"
        self.etc = directory / "etc/provision-engine"
        self.logs = directory / "var/log/provision-engine"
        self.run = directory / "run/provision-engine"

    def install(
        self, *arguments: str, script: Path = SCRIPT, umask: int = -1, **environment: str
    ) -> Done:
        """Run install.sh, in a directory whose modules must not be imported."""
        return run(
            *(script, *arguments),
            cwd=_planted(self.directory.parent),
            umask=umask,
            env={**_plain_environment(), "DESTDIR": str(self.directory), **environment},
        )

    def call(self, *arguments: str) -> Done:
        """Run the installed command, in a directory whose modules must not be imported."""
        return run(
            *(self.command, "--config", self.etc / "engine.conf", *arguments),
            cwd=_planted(self.directory.parent),
            env=_plain_environment(),
        )

    def package(self) -> Path:
        """The directory of the installed program's code."""
        code = "import provision_engine; print(provision_engine.__path__[0])"
        python = self.opt / "venv/bin/python"
        done = run(python, "-c", code, check=True, cwd="/", env=_plain_environment())
        return Path(done.stdout.strip()).resolve()


def _plain_environment() -> dict[str, str]:
    """The environment without variables that lead Python to the code under test."""
    hidden = ("PYTHONPATH", "COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG")
    return {name: value for name, value in os.environ.items() if name not in hidden}


def _planted(parent: Path) -> Path:
    """A directory with a module of each name that the programs may import; they all fail."""
    directory = parent / "planted"
    if not directory.is_dir():
        directory.mkdir()
        for name in {*sys.stdlib_module_names, *LIBRARIES, "usercustomize", "sitecustomize"}:
            text = f"raise SystemExit('{name} of the current directory was imported')"
            (directory / f"{name}.py").write_text(text)
    return directory


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what install.sh needs, to which only this user can write."""
    directory = tmp_path / "checkout"
    directory.mkdir()
    for name in PARTS:
        path = SCRIPT.parent / name
        (shutil.copytree if path.is_dir() else shutil.copy)(path, directory / name)
    subprocess.run(["chmod", "-R", "go-w", directory], check=True)
    return directory


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    return Installation(tmp_path / "root dir")


@pytest.fixture
def registry(tmp_path: Path) -> None:
    """Skip where pip cannot get packages, or Python cannot make environments."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    done = run(*pip, "--dest", tmp_path / "probe", "setuptools>=68")
    if done.returncode != 0:
        pytest.skip("pip reaches no registry here")


# ---- without installing ----------------------------------------------------------------


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_the_script_has_no_syntax_errors(shell: str) -> None:
    done = run(shell, "-n", SCRIPT)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "arguments",
    [
        ["links"],
        ["copy", "clean"],
        ["link", "copy"],
        ["clean", "all"],
        ["purge"],
        [""],
        ["clean purge"],
    ],
)
def test_unknown_arguments_print_the_usage(
    installation: Installation, arguments: list[str]
) -> None:
    done = installation.install(*arguments)
    assert done.returncode == 2
    assert "install.sh clean purge" in done.stderr
    assert not installation.directory.exists()


def test_help_exits_with_0(installation: Installation) -> None:
    done = installation.install("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "DESTDIR" in done.stdout


@pytest.mark.parametrize(
    ("python", "reason"),
    [
        ("exit 1", "Python 3.11 or newer is missing: apt-get install python3 python3-venv"),
        (
            'case "$*" in *version_info*) exit 0;; *) exit 1;; esac',
            "cannot create virtual environments: apt-get install python3-venv",
        ),
    ],
)
def test_a_missing_program_is_reported_with_its_package(
    installation: Installation, tmp_path: Path, python: str, reason: str
) -> None:
    fake = tmp_path / "python"
    fake.write_text(f"#!/bin/sh\n{python}\n")
    fake.chmod(0o755)
    done = installation.install(PYTHON=str(fake))
    assert (done.returncode, done.stdout) == (1, "")
    assert reason in done.stderr
    assert not installation.directory.exists()


@as_root
@pytest.mark.parametrize("part", ["provision_engine/cli/program.py", "etc", "."])
@pytest.mark.parametrize("change", ["g+w", "o+w", "owner"])
def test_root_links_to_no_checkout_that_others_can_write_to(
    installation: Installation, checkout: Path, part: str, change: str
) -> None:
    if change == "owner":
        os.chown(checkout / part, 65534, -1)
    else:
        subprocess.run(["chmod", change, checkout / part], check=True)
    done = installation.install("link", script=checkout / "install.sh")
    assert done.returncode == 1
    assert f"{(checkout / part).resolve()} can be written by users other than root" in done.stderr
    assert not installation.directory.exists()


@as_root
def test_root_links_to_no_checkout_below_a_directory_that_others_can_write_to(
    installation: Installation, checkout: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, 65534, -1)
    (home / "sources").mkdir()
    checkout = checkout.rename(home / "sources/checkout")
    done = installation.install("link", script=checkout / "install.sh")
    assert done.returncode == 1
    assert f"{home} can be written by users other than root" in done.stderr
    assert not installation.directory.exists()


@as_root
def test_root_installs_no_python_that_others_can_write_to(
    installation: Installation, tmp_path: Path
) -> None:
    python = tmp_path / "python3"
    shutil.copy(Path(sys.executable).resolve(), python)
    python.chmod(0o777)
    done = installation.install(PYTHON=str(python))
    assert done.returncode == 1
    assert f"{python} can be written by users other than root" in done.stderr
    assert not installation.directory.exists()


def test_a_relative_destination_is_refused(installation: Installation) -> None:
    done = installation.install(DESTDIR="here")
    assert done.returncode == 1
    assert "DESTDIR is here: must be an absolute path" in done.stderr


@pytest.mark.parametrize("arguments", [["clean"], ["clean", "purge"]])
def test_cleaning_without_an_installation_exits_with_0(
    installation: Installation, arguments: list[str]
) -> None:
    installation.directory.mkdir()
    done = installation.install(*arguments)
    assert (done.returncode, done.stderr) == (0, "")


def test_another_program_s_command_is_left_alone(installation: Installation) -> None:
    installation.command.parent.mkdir(parents=True)
    installation.command.write_text("another program")
    assert installation.install("clean", "purge").returncode == 0
    assert installation.command.read_text() == "another program"


# ---- with installing -------------------------------------------------------------------


def writable_by_others(directory: Path) -> list[Path]:
    """The files of another user, or that another user can write to."""
    found = [(path, path.lstat()) for path in directory.rglob("*") if not path.is_symlink()]
    return [p for p, s in found if s.st_uid != os.geteuid() or s.st_mode & 0o022]


def installed(installation: Installation, *arguments: str, **settings: Any) -> str:
    done = installation.install(*arguments, **settings)
    if "python3-venv" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    assert f"installed: provision-engine {__version__}" in done.stdout
    return done.stdout


@pytest.mark.usefixtures("registry")
def test_a_lifecycle_from_installation_to_purge(installation: Installation, checkout: Path) -> None:
    """A link, which a copy replaces."""
    root = installation.directory
    (root / "run/systemd/system").mkdir(parents=True)
    unit = root / "usr/local/lib/systemd/system/provision-engine.service"
    before = {path.name for path in checkout.iterdir()}

    # A link to the checkout, which stays unchanged. No service runs it.
    text = installed(installation, "link", script=checkout / "install.sh")
    assert "start it with" in text
    assert "whoever can write there" in text
    assert installation.package() == checkout / "provision_engine"
    assert {path.name for path in checkout.iterdir()} == before
    assert not unit.exists()
    shipped = (checkout / "etc/engine.conf").read_text()
    file = installation.etc / "engine.conf"
    assert file.read_text() == shipped
    assert (installation.etc / "schemas/config.json").is_file()
    assert not (installation.etc / "schemas").is_symlink()
    old_name = installation.command.with_name("provision-engine-server")
    for command in (installation.command, old_name):
        done = run(command, "--version", check=True)
        assert done.stdout == f"provision-engine {__version__}\n"

    # It runs.
    edited = shipped.replace(":port: 1337", f":port: {free_port()}").replace(
        "  # :directory: /var/log/provision-engine", f"  :directory: {installation.logs}"
    )
    edited += f":server:\n  :pid_file: {installation.run}/engine.pid\n"
    file.write_text(edited)
    done = installation.call("start")
    assert (done.returncode, done.stderr) == (0, "")
    match = re.search(r"pid (\d+)", done.stdout)
    assert match

    # A copy replaces the link; edited files stay, and the running engine is not disturbed.
    (installation.etc / "schemas/old.json").touch()
    text = installed(installation, umask=0)
    assert "engine.conf, which was edited" in text
    assert "restart" in text
    assert unit.exists()
    assert [p for d in ("opt", "etc", "usr") for p in writable_by_others(root / d)] == []
    assert file.read_text() == edited
    assert not (installation.etc / "schemas/old.json").exists()
    assert installation.opt in installation.package().parents
    assert f"pid {match[1]})" in installation.call("status").stdout
    assert installation.call("restart").returncode == 0

    # An environment that another user could have changed is made anew.
    planted = installation.opt / "venv/bin/planted"
    planted.touch()
    planted.parent.chmod(0o777)
    installed(installation, "copy", umask=0o077)
    assert planted.exists() is not IS_ROOT
    assert file.read_text() == edited

    # Clean stops the engine, but keeps configuration and logs.
    done = installation.install("clean")
    assert (done.returncode, done.stderr) == (0, "")
    assert "stopping the engine" in done.stdout
    assert not installation.opt.exists()
    assert not installation.command.is_symlink()
    assert not old_name.is_symlink()
    assert file.read_text() == edited
    assert (installation.logs / "engine.log").is_file()

    assert installation.install("clean", "purge").returncode == 0
    assert [path for path in installation.directory.rglob("*") if path.is_file()] == []


@pytest.mark.usefixtures("registry")
def test_a_default_configuration_is_replaced(installation: Installation) -> None:
    installed(installation, "copy")
    for file in (installation.opt / "engine.conf", installation.etc / "engine.conf"):
        file.write_text("# that of an older release\n")
    text = installed(installation, "copy")
    assert "edited" not in text
    shipped = (SCRIPT.parent / "etc/engine.conf").read_text()
    assert (installation.etc / "engine.conf").read_text() == shipped


@pytest.mark.usefixtures("registry")
def test_it_replaces_the_ruby_engine_and_runs_as_a_service(installation: Installation) -> None:
    root = installation.directory
    units = root / "usr/local/lib/systemd/system"
    (root / "run/systemd/system").mkdir(parents=True)
    old = "# Ruby's\n:port: 1338\n:mapping:\n  :nature: 5\n"
    (installation.etc / "schemas").mkdir(parents=True)
    (installation.etc / "engine.conf").write_text(old)
    (installation.opt / "server").mkdir(parents=True)
    old_name = installation.command.with_name("provision-engine-server")
    old_name.parent.mkdir(parents=True)
    old_name.symlink_to(installation.opt / "server/server.rb")

    installation.opt.rename(installation.opt.with_name("provision-engine.ruby"))
    text = installed(installation, "copy")
    assert "systemctl enable --now provision-engine" in text
    assert (installation.etc / "engine.conf").read_text() == old
    assert (installation.etc / "schemas/serverless_runtime.json").is_file()
    done = run(old_name, "--version", check=True)
    assert done.stdout == f"provision-engine {__version__}\n"
    shipped = {
        units / "provision-engine.service": "provision-engine.service",
        units / "provision-engine-reconcile.timer": "provision-engine-reconcile.timer",
        root / "usr/local/lib/sysusers.d/provision-engine.conf": "sysusers.conf",
        root / "usr/local/lib/tmpfiles.d/provision-engine.conf": "tmpfiles.conf",
        root / "etc/logrotate.d/provision-engine": "logrotate",
        root / "usr/local/share/provision-engine/grafana-dashboard.json": "grafana-dashboard.json",
    }
    for place, name in shipped.items():
        assert place.read_text() == (SCRIPT.parent / "etc" / name).read_text()

    assert installation.install("clean").returncode == 0
    assert not [place for place in shipped if place.exists()]
    assert (installation.etc / "engine.conf").read_text() == old
    assert installation.opt.with_name("provision-engine.ruby").is_dir()
