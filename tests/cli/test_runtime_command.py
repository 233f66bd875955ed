"""`provision-engine runtime …` against a real engine on a sandbox."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import select
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import pytest
from cli_engine import WAIT_SECONDS, Engine, free_port, wait_until

from provision_engine import cli
from provision_engine.cli import output
from provision_engine.cli import runtime as command
from provision_engine.cli.runtime import exit_codes as codes
from provision_engine.sandbox import Sandbox, Timings

NO_HOST = "FREE_CPU > 1000000"
USER, PASSWORD = "devuser", "devpass"


class RealEngine(Engine):
    """The engine itself instead of a small application."""

    def command(self, *arguments: str) -> list[str]:
        return [
            sys.executable,
            "-m",
            "provision_engine.cli",
            "--config",
            str(self.file),
            *arguments,
        ]


class Ran(NamedTuple):
    """How a command ended, and what it wrote."""

    returncode: int
    stdout: str
    stderr: str


@dataclass
class Desk:
    """Somebody at a command line, with an engine and a sandbox to look into."""

    url: str
    home: Path
    sandbox: Sandbox

    def environment(self, **further: str) -> dict[str, str]:
        kept = {n: v for n, v in os.environ.items() if n not in ("ONE_AUTH", "HOME")}
        return {**kept, "HOME": str(self.home), "PROVISION_ENGINE_URL": self.url, **further}

    def run(self, *arguments: str, **environment: str) -> Ran:
        """The command in this process, which is quicker than one of its own."""
        stdout, stderr = io.StringIO(), io.StringIO()
        with (
            mock.patch.dict(os.environ, self.environment(**environment), clear=True),
            mock.patch("sys.stdin", io.StringIO()),
            redirect_stdout(stdout),
            redirect_stderr(stderr),
        ):
            try:
                code = cli.main(["runtime", *arguments])
            except SystemExit as end:
                code = int(end.code or 0)
        return Ran(code, stdout.getvalue(), stderr.getvalue())

    def line(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "provision_engine.cli", "runtime", *arguments]

    def done(self, *arguments: str) -> str:
        """What it prints when all goes well, beside the id of a runtime that it waits for."""
        ran = self.run(*arguments)
        assert ran.returncode == 0, ran.stderr
        assert re.fullmatch(r'(created runtime \d+ .*|\{"created": \d+\})?\n?', ran.stderr)
        return ran.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self.done(*arguments, "--json"))

    def made(self, *arguments: str) -> dict[str, Any]:
        """A runtime of the flavour nature."""
        found: dict[str, Any] = self.json("create", "nature", *arguments)["SERVERLESS_RUNTIME"]
        return found

    def on_terminal(
        self, *arguments: str, typed: Sequence[tuple[str, str]] = (), **environment: str
    ) -> tuple[int, str]:
        """Exit code, and all that a terminal shows, while somebody answers its questions."""
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            self.line(*arguments),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=self.environment(**environment),
            start_new_session=True,
        )
        os.close(theirs)
        shown = ""
        for question, answer in (*typed, ("", "")):
            # A terminal forgets what is typed before it is asked for.
            while question not in shown.rpartition("\n")[2] or not question:
                if not (chunk := _read(ours)):
                    break
                shown += chunk
            else:
                os.write(ours, f"{answer}\n".encode())
        os.close(ours)
        return process.wait(60), shown


def _read(terminal: int) -> str:
    """What comes next, nothing at the end. Fails where nothing comes at all."""
    ready, _, _ = select.select([terminal], [], [], WAIT_SECONDS)
    assert ready, "the terminal shows nothing"
    try:
        return os.read(terminal, 65_536).decode()
    except OSError:  # the other end is closed
        return ""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sandbox, RealEngine]]:
    with Sandbox("7.4.0", timings=Timings()) as sandbox:
        engine = RealEngine(tmp_path_factory.mktemp("engine"))
        engine.configuration |= {"one_xmlrpc": sandbox.oned_url, "cache": {"seconds": 0}}
        engine.configuration["oneflow_server"] = sandbox.oneflow_url
        engine.configuration["server"]["threads"] = 16
        engine.write()
        engine.start()
        yield sandbox, engine
        engine.end()


@pytest.fixture
def desk(stage: tuple[Sandbox, RealEngine], tmp_path: Path) -> Iterator[Desk]:
    """With credentials where OpenNebula's own tools look for them; nothing is left after it."""
    sandbox, engine = stage
    (tmp_path / ".one").mkdir()
    (tmp_path / ".one/one_auth").write_text(f"{USER}:{PASSWORD}\n")
    desk = Desk(f"http://127.0.0.1:{engine.port}", tmp_path, sandbox)
    yield desk
    sandbox.faults.clear()
    sandbox.store.set_quota(USER, VMS=-1)
    left = [str(entry["SERVERLESS_RUNTIME"]["ID"]) for entry in desk.json("list")]
    if left:
        wait_until(lambda: desk.run("delete", *left).returncode in (0, 3))


# ---- what it does --------------------------------------------------------------------------


def test_a_life(desk: Desk) -> None:
    made = desk.made("--name", "lamp", "--cpu", "1", "--memory", "128", "--lease", "2h", "--wait")
    runtime_id = str(made["ID"])
    assert made["NAME"] == "lamp"
    assert made["FAAS"]["STATE"] == "RUNNING"
    assert made["LEASE"]["TTL"] == 7200
    shown = desk.done("show", runtime_id)
    for fact in ("lamp", "RUNNING", made["FAAS"]["ENDPOINT"], "128 MB", "in 1h59m"):
        assert fact in shown
    updated = desk.json("update", runtime_id, "--cpu", "2", "--device-info", "ROOM=hall")
    assert updated["SERVERLESS_RUNTIME"]["FAAS"]["CPU"] == 2
    assert updated["SERVERLESS_RUNTIME"]["DEVICE_INFO"] == {"ROOM": "hall"}
    assert desk.json("recover", runtime_id) == desk.json("show", runtime_id)
    assert desk.done("delete", runtime_id) == f"deleted {runtime_id}\n"
    assert desk.run("show", runtime_id).returncode == codes.NOT_FOUND


def test_a_list_is_a_table_or_json(desk: Desk) -> None:
    columns = ["ID", "NAME", "FLAVOUR", "STATE", "ENDPOINT", "EXPIRES", "REASON"]
    assert desk.done("list").split() == columns
    one = desk.made("--name", "one", "--data", "s3", "--wait")
    two = desk.made("--name", "two", "--requirements", NO_HOST)
    assert wait_until(lambda: f"no host satisfies {NO_HOST}" in desk.done("list"))
    lines = desk.done("list").splitlines()
    assert len({line.index("nature") for line in lines[1:]}) == 1
    assert lines[1].split()[:4] == [str(one["ID"]), "one", "nature-s3", "RUNNING"]
    assert lines[2].split()[:4] == [str(two["ID"]), "two", "nature", "PENDING"]
    listed = [entry["SERVERLESS_RUNTIME"]["ID"] for entry in desk.json("list")]
    assert listed == [one["ID"], two["ID"]]
    found = desk.json("list", "--state", "pending", "--flavour", "nature", "--name", "two")
    assert [entry["SERVERLESS_RUNTIME"]["ID"] for entry in found] == [two["ID"]]


def test_a_dry_run_makes_nothing(desk: Desk) -> None:
    before = desk.sandbox.store.count()
    plan = json.loads(desk.done("create", "nature", "--cpu", "3", "--dry-run"))
    assert plan["ROLES"]["FAAS"]["ATTRIBUTES"]["CPU"] == "3"
    assert desk.sandbox.store.count() == before


def test_the_same_key_makes_the_same_runtime(desk: Desk) -> None:
    assert desk.made("--key", "k")["ID"] == desk.made("--key", "k")["ID"]
    assert desk.run("create", "nature", "--key", "k", "--cpu", "3").returncode == 7


def test_several_can_be_deleted_at_once(desk: Desk) -> None:
    made = [str(desk.made("--wait")["ID"]) for _ in range(2)]
    assert desk.done("delete", *made) == "".join(f"deleted {i}\n" for i in made)


def test_what_was_seen_can_be_demanded(desk: Desk) -> None:
    runtime_id = str(desk.made("--wait")["ID"])
    seen = desk.done("show", runtime_id).split("ETAG", 1)[1].split()[0].strip('"')
    desk.done("update", runtime_id, "--name", "other", "--if-match", seen)
    late = desk.run("update", runtime_id, "--name", "late", "--if-match", seen)
    assert late.returncode == codes.UNFULFILLABLE
    assert desk.json("show", runtime_id)["SERVERLESS_RUNTIME"]["NAME"] == "other"


def test_it_is_a_program_of_its_own(desk: Desk) -> None:
    ran = subprocess.run(
        desk.line("create", "nobody-has-this"),
        capture_output=True,
        text=True,
        check=False,
        env=desk.environment(),
        stdin=subprocess.DEVNULL,
    )
    assert (ran.returncode, ran.stdout) == (codes.UNFULFILLABLE, "")
    assert ran.stderr.startswith("provision-engine: ")
    assert ran.stderr.count("\n") == 1


# ---- exit codes ------------------------------------------------------------------------------


def test_a_runtime_that_fails_is_told_and_shown(desk: Desk) -> None:
    desk.sandbox.faults.drivers.set("boot", fails=True)
    ran = desk.run("create", "nature", "--wait", "--json")
    assert ran.returncode == codes.RUNTIME_FAILED
    made = json.loads(ran.stdout)["SERVERLESS_RUNTIME"]
    assert made["FAAS"]["STATE"] == "ERROR"
    created, failure = map(json.loads, ran.stderr.splitlines())
    assert created == {"created": made["ID"]}
    assert "failed to boot" in failure["message"]
    assert desk.run("wait", str(made["ID"])).returncode == codes.RUNTIME_FAILED


def test_a_wait_that_is_over_is_told_and_the_runtime_shown(desk: Desk) -> None:
    ran = desk.run("create", "nature", "--requirements", NO_HOST, "--wait", "1s", "--json")
    assert ran.returncode == codes.STILL_WAITING
    runtime_id = str(json.loads(ran.stdout)["SERVERLESS_RUNTIME"]["ID"])
    assert desk.run("wait", runtime_id, "--timeout", "1").returncode == codes.STILL_WAITING
    locked = desk.run("update", runtime_id, "--cpu", "3")
    assert (locked.returncode, "PENDING" in locked.stderr) == (codes.LATER, True)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["show", "999999"], 3),
        (["wait", "999999"], 3),
        (["recover", "999999"], 3),
        (["update", "999999", "--cpu", "2"], 3),
        (["delete", "999999"], 3),
        (["create", "DenyVMTemplate"], 6),
        (["create", "nobody-has-this"], 7),
        (["create", "FAILED_DEPLOY"], 1),
        (["create", ""], 1),
        (["create", "nature", "--data-cpu", "1"], 2),
        (["update", "999999"], 2),
        (["update", "999999", "--lease", "1h", "--no-lease"], 2),
        (["delete", "1", "2", "--if-match", "x"], 2),
        (["create", "nature", "--cpu", "0"], 2),
        (["create", "nature", "--lease", "soon"], 2),
        (["create", "nature", "--device-info", "room=1"], 2),
        (["create"], 2),
        (["create", "nature", "--memory", "1X"], 2),
        (["show", "nobody-has-this-name"], 3),
        (["show", ""], 3),
        (["timeline", "999999"], 3),
        (["sing"], 2),
    ],
)
def test_exit_codes_tell_a_script_what_happened(
    desk: Desk, arguments: list[str], code: int
) -> None:
    ran = desk.run(*arguments)
    assert ran.returncode == code, ran.stderr
    assert ran.stderr
    assert "Traceback" not in ran.stderr
    assert ran.stdout == ""


def test_a_quota_is_told(desk: Desk) -> None:
    desk.sandbox.store.set_quota(USER, VMS=0)
    ran = desk.run("create", "nature")
    assert ran.returncode == codes.UNFULFILLABLE
    assert "limit of 0 reached" in ran.stderr


def test_an_engine_that_is_not_there_is_told(desk: Desk) -> None:
    ran = desk.run("list", "--url", f"http://127.0.0.1:{free_port()}")
    assert ran.returncode == codes.LATER
    assert "refused" in ran.stderr


def test_every_exit_code_is_explained(desk: Desk) -> None:
    explained = desk.done("--help")
    assert all(f"\n  {code:<3}  " in explained for code in codes.MEANINGS)
    named = {value for name, value in vars(codes).items() if isinstance(value, int)}
    assert named < set(codes.MEANINGS)
    assert desk.done("create", "--help").count("exit codes:") == 1


def test_an_error_is_json_where_json_is_wanted(desk: Desk) -> None:
    told = json.loads(desk.run("show", "999999", "--json").stderr)
    assert told["status"] == 404
    assert told["error"]
    assert told["request_id"]


# ---- credentials -----------------------------------------------------------------------------


def test_the_file_that_one_auth_names_comes_first(desk: Desk) -> None:
    file = desk.home / "auth"
    file.write_text(f"{USER}:wrong")
    assert desk.run("list", ONE_AUTH=str(file)).returncode == codes.REFUSED
    file.write_text(f"{USER}:{PASSWORD}")
    (desk.home / ".one/one_auth").write_text(f"{USER}:wrong")
    assert desk.run("list", ONE_AUTH=str(file)).returncode == 0
    assert desk.run("list").returncode == codes.REFUSED
    (desk.home / ".one/one_auth").write_text(f"{USER}:{PASSWORD}")


@pytest.mark.parametrize("text", ["", "devuser", ":devpass", "devuser:"])
def test_a_file_without_credentials_is_named(desk: Desk, text: str) -> None:
    file = desk.home / "auth"
    file.write_text(text)
    ran = desk.run("list", ONE_AUTH=str(file))
    assert ran.returncode == 1
    assert str(file) in ran.stderr


def test_a_missing_file_is_named(desk: Desk) -> None:
    ran = desk.run("list", ONE_AUTH=str(desk.home / "nowhere"))
    assert (ran.returncode, "nowhere" in ran.stderr) == (1, True)


def test_without_any_nobody_is_asked_but_a_terminal(desk: Desk, tmp_path: Path) -> None:
    elsewhere = {"HOME": str(tmp_path / "empty")}
    ran = desk.run("list", **elsewhere)
    assert (ran.returncode, "one_auth" in ran.stderr) == (1, True)
    code, shown = desk.on_terminal(
        "list", typed=[("user", USER), ("Password", PASSWORD)], **elsewhere
    )
    assert code == 0, shown
    assert "ENDPOINT" in shown
    assert PASSWORD not in shown
    code, shown = desk.on_terminal(
        "list", typed=[("user", USER), ("Password", "wrong")], **elsewhere
    )
    assert code == codes.REFUSED


def test_no_argument_takes_a_password() -> None:
    for name in command.ACTIONS:
        usage = command.action_parser(name).format_usage()
        assert not any(word in usage for word in ("--password", "--user", "--auth", "--token"))


# ---- terminals -------------------------------------------------------------------------------


def test_a_terminal_shows_what_is_waited_for_on_one_line(desk: Desk) -> None:
    runtime_id = str(desk.made("--requirements", NO_HOST)["ID"])
    assert wait_until(lambda: "no host satisfies" in desk.done("show", runtime_id))
    code, shown = desk.on_terminal("wait", runtime_id, "--timeout", "1")
    assert code == codes.STILL_WAITING
    assert "\r\x1b[K" in shown
    assert "PENDING" in shown
    assert "no host satisfies" in shown
    # Several writes, all on one line, which is empty in the end.
    progress, _, result = shown.rpartition("\r\x1b[K")
    assert "\n" not in progress
    assert len({line.split(" s  ")[0] for line in progress.split("\r\x1b[K")}) > 2
    assert result.startswith("ID ")


def test_a_pipe_gets_no_progress(desk: Desk) -> None:
    runtime_id = str(desk.made("--wait")["ID"])
    ran = desk.run("wait", runtime_id)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_what_others_chose_does_nothing_to_a_terminal() -> None:
    assert output.table(("A",), [["\x1b[2Jx\r\n"]]) == "A\n\\x1b[2Jx\\r\\n"
