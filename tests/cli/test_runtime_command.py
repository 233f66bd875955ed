"""`provision-engine runtime …` against a real engine on a sandbox."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from pathlib import Path

import click
import pytest

from provision_engine.cli import show
from provision_engine.cli.runtime import actions
from provision_engine.cli.runtime import exit_codes as codes
from tests.support.ports import free_port
from tests.support.waiting import wait_until

from .cli_engine import call
from .desk import NO_HOST, PASSWORD, USER, Desk

# ---- what it does --------------------------------------------------------------------------


def test_a_lifecycle(desk: Desk) -> None:
    made = desk.made("--name", "lamp", "--cpu", "1", "--memory", "128", "--lease", "2h", "--wait")
    runtime_id = str(made["ID"])
    assert made["NAME"] == "lamp"
    assert made["FAAS"]["STATE"] == "RUNNING"
    assert made["LEASE"]["TTL"] == 7200
    shown = desk.done("show", runtime_id)
    for fact in ("lamp", "RUNNING", made["FAAS"]["ENDPOINT"], "128 MB", "in 119m"):
        assert fact in shown
    updated = desk.json("update", runtime_id, "--cpu", "2", "--device-info", "ROOM=hall")
    assert updated["SERVERLESS_RUNTIME"]["FAAS"]["CPU"] == 2
    assert updated["SERVERLESS_RUNTIME"]["DEVICE_INFO"] == {"ROOM": "hall"}
    assert desk.json("recover", runtime_id) == desk.json("show", runtime_id)
    assert desk.done("delete", runtime_id) == f"deleted {runtime_id}\n"
    assert desk.run("show", runtime_id).returncode == codes.NOT_FOUND


def test_a_list_is_a_table_or_json(desk: Desk) -> None:
    assert desk.done("list") == "No runtimes\n"
    one = desk.made("--name", "one", "--data", "s3", "--wait")
    two = desk.made("--name", "two", "--requirements", NO_HOST)
    assert wait_until(lambda: "no host satisfies" in desk.done("list"))
    lines = desk.done("list").splitlines()
    columns = ["ID", "NAME", "FLAVOUR", "STATE", "AGE", "CPU", "MEM", "EXPIRES", "DETAILS"]
    assert lines[0].split() == columns
    assert len({line.index("nature") for line in lines[1:]}) == 1
    assert lines[1].split()[5:] == ["2", "256M", "-", one["FAAS"]["ENDPOINT"]]
    assert lines[2].endswith(f"-        no host satisfies {NO_HOST}")
    assert lines[1].split()[:4] == [str(one["ID"]), "one", "nature-s3", "RUNNING"]
    assert lines[2].split()[:4] == [str(two["ID"]), "two", "nature", "PENDING"]
    listed = [entry["SERVERLESS_RUNTIME"]["ID"] for entry in desk.json("list")]
    assert listed == [one["ID"], two["ID"]]
    found = desk.json("list", "--state", "pending", "--flavour", "nature", "--name", "two")
    assert [entry["SERVERLESS_RUNTIME"]["ID"] for entry in found] == [two["ID"]]


def test_a_dry_run_creates_nothing(desk: Desk) -> None:
    before = desk.json("list")
    shown = desk.done("create", "nature", "--cpu", "3", "--dry-run")
    assert {"FLOW_TEMPLATE", "FAAS.CPU", "FAAS.DISK.0.IMAGE"} < set(shown.split())
    plan = desk.json("create", "nature", "--cpu", "3", "--dry-run")
    assert plan["ROLES"]["FAAS"]["ATTRIBUTES"]["CPU"] == "3"
    assert desk.json("list") == before


def test_the_same_key_returns_the_same_runtime(desk: Desk) -> None:
    assert desk.made("--key", "k")["ID"] == desk.made("--key", "k")["ID"]
    assert desk.run("create", "nature", "--key", "k", "--cpu", "3").returncode == 7


def test_several_can_be_deleted_at_once(desk: Desk) -> None:
    made = [str(desk.made("--wait")["ID"]) for _ in range(2)]
    assert desk.done("delete", *made) == "".join(f"deleted {i}\n" for i in made)


def test_an_update_can_require_an_etag(desk: Desk) -> None:
    runtime_id = str(desk.made("--wait")["ID"])
    seen = desk.done("show", runtime_id).split("ETAG", 1)[1].split()[0].strip('"')
    desk.done("update", runtime_id, "--name", "other", "--if-match", seen)
    late = desk.run("update", runtime_id, "--name", "late", "--if-match", seen)
    assert late.returncode == codes.UNFULFILLABLE
    assert desk.json("show", runtime_id)["SERVERLESS_RUNTIME"]["NAME"] == "other"


# ---- names, several at once, other ways to print ---------------------------------------------


def test_a_name_is_accepted_in_place_of_an_id(desk: Desk) -> None:
    made = desk.made("--name", "lamp", "--wait")
    assert desk.json("show", "lamp")["SERVERLESS_RUNTIME"]["ID"] == made["ID"]
    desk.done("update", "lamp", "--device-info", "room=hall")
    assert "ROOM" in desk.done("wait", "lamp")
    assert desk.done("rm", "lamp") == f"deleted {made['ID']}\n"


def test_an_ambiguous_name_is_refused_with_the_ids(desk: Desk) -> None:
    first, second = (desk.made("--name", "twin")["ID"] for _ in range(2))
    for action in (["show"], ["delete"], ["update", "--cpu", "2"]):
        ran = desk.run(*action, "twin")
        assert ran.returncode == codes.FAILED
        assert f"several runtimes are named 'twin': use one of the ids {first}, {second}" in (
            ran.stderr
        )
    assert len(desk.done("ls", "-q").split()) == 2


def test_a_delete_continues_after_a_failure_and_prints_a_summary(desk: Desk) -> None:
    first, second = (str(desk.made("--wait")["ID"]) for _ in range(2))
    ran = desk.run("delete", first, "999999", "nobody", second)
    assert ran.returncode == codes.NOT_FOUND
    assert ran.stdout == f"deleted {first}\ndeleted {second}\n"
    missing, unnamed, total = ran.stderr.splitlines()
    assert missing.startswith("provision-engine: 999999: Not found: ")
    assert unnamed == ("provision-engine: nobody: There is no serverless runtime named 'nobody'")
    assert total == "2 deleted, 2 failed"


def test_quiet_output_is_ids(desk: Desk) -> None:
    created = [desk.done("create", "nature", "-q", "--wait").strip() for _ in range(2)]
    assert all(text.isdigit() for text in created)
    assert desk.done("ls", "-q").split() == created
    assert desk.done("ls", "-q", "--name", "nobody") == ""


def test_sizes_have_units(desk: Desk) -> None:
    function = desk.made("--memory", "1G", "--disk", "2GiB")["FAAS"]
    assert (function["MEMORY"], function["DISK_SIZE"]) == (1024, 2048)


def test_flavours_are_listed_with_their_sizes_and_what_is_wrong(desk: Desk) -> None:
    lines = desk.done("flavours").splitlines()
    assert lines[0].split() == ["FLAVOUR", "DEPLOYABLE", "OWNER", "FAAS", "DAAS", "FINDINGS"]
    rows = {line.split()[0]: line for line in lines[1:]}
    assert re.search(r" yes +oneadmin +1 CPU, 128 MB, \d+ MB disk +-$", rows["nature"])
    assert rows["FAILED_DEPLOY"].split()[1] == "no"
    assert "VM template 999" in rows["FAILED_DEPLOY"]
    quiet = desk.done("flavours", "-q").split()
    assert "nature" in quiet
    assert "FAILED_DEPLOY" not in quiet
    assert {entry["FLAVOURS"] for entry in desk.json("flavours")} == set(rows)


def test_a_timeline_begins_at_zero(desk: Desk) -> None:
    runtime_id = str(desk.made("--wait")["ID"])
    lines = [line.split() for line in desk.done("timeline", runtime_id).splitlines()]
    assert lines[0] == ["AT", "AFTER", "STEP", "FUNCTION"]
    assert lines[1][1:] == ["+0", "s", "ASKED", "-"]
    steps = [step["STEP"] for step in desk.json("timeline", runtime_id)["STEPS"]]
    assert [line[3] for line in lines[1:]] == steps
    assert {"SERVICE", "VM"} < set(steps)


# ---- where the engine is ---------------------------------------------------------------------


def test_the_address_comes_from_the_nearest_source(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --config before or after the command, and from the environment."""
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    right, away = tmp_path / "right.conf", tmp_path / "away.conf"
    right.write_text(f"port: {desk.url.rpartition(':')[2]}\nhost: 0.0.0.0\n")
    nowhere = f"http://127.0.0.1:{free_port()}"
    away.write_text(f"port: {nowhere.rpartition(':')[2]}\n")
    by_url = {"PROVISION_ENGINE_URL": nowhere}
    by_conf = {"PROVISION_ENGINE_URL": "", "PROVISION_ENGINE_CONF": str(right)}
    for arguments, environment, source in (
        (["list"], by_url, "PROVISION_ENGINE_URL"),
        (["list", "--config", str(right)], by_url, ""),
        (["--config", str(right), "list"], by_url, ""),
        (["list", "--config", str(right), "--url", nowhere], {}, "--url"),
        (["list"], by_conf, ""),
        (["--config", str(away), "list"], by_conf, str(away)),
        (["--config", str(away), "list", "--config", str(right)], by_conf, ""),
    ):
        ran = desk.run(*arguments, **environment)
        assert ran.returncode == (codes.LATER if source else 0), ran.stderr
        refused = f"(address from {source}): connection refused: is the engine running?\n"
        assert ran.stderr.endswith(refused) or not source
    ran = call("--config", str(away), "runtime", "list", **desk.environment())
    assert f"(address from {away}): " in ran.stderr
    ran = desk.run("list", "--config", str(tmp_path / "missing.conf"))
    assert (ran.returncode, "missing.conf: cannot be read" in ran.stderr) == (1, True)


def test_another_server_is_not_mistaken_for_an_engine(desk: Desk) -> None:
    ran = desk.run("list", "--url", desk.sandbox.oneflow_url)
    assert ran.returncode == codes.FAILED
    ran = desk.run("list", "--url", "nonsense")
    assert (ran.returncode, "address from --url" in ran.stderr) == (codes.FAILED, True)


# ---- pipes and Ctrl-C ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments", [["runtime", "list"], ["runtime", "show", "{id}"], ["check"], ["--help"]]
)
def test_a_closed_pipe_ends_the_program_silently(desk: Desk, arguments: list[str]) -> None:
    """As `… | head -1` leaves it."""
    runtime_id = str(desk.made()["ID"])
    line = [*desk.line()[:-1], *(word.format(id=runtime_id) for word in arguments)]
    conf = desk.home / "engine.conf"
    conf.write_text(
        f"one_xmlrpc: {desk.sandbox.oned_url}\noneflow_server: {desk.sandbox.oneflow_url}\n"
    )
    program = subprocess.Popen(
        line,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=desk.environment(PROVISION_ENGINE_CONF=str(conf)),
    )
    assert program.stdout is not None
    assert program.stderr is not None
    program.stdout.close()
    assert program.stderr.read() == ""
    program.stderr.close()
    assert program.wait(60) == 141


def test_the_id_is_printed_before_the_wait_and_again_after_ctrl_c(desk: Desk) -> None:
    line = desk.line("create", "nature", "--requirements", NO_HOST, "--wait")
    program = subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=desk.environment()
    )
    assert program.stderr is not None
    found = re.fullmatch(r"created runtime (\d+) \(nature_.*\)\n", program.stderr.readline())
    assert found
    program.send_signal(signal.SIGINT)
    output, errors = program.communicate(timeout=60)
    assert program.returncode == 130
    assert output == ""
    assert errors == (
        f"interrupted; runtime {found[1]} goes on: "
        f"delete it with provision-engine runtime delete {found[1]}\n"
    )
    assert desk.json("show", found[1])["SERVERLESS_RUNTIME"]["FAAS"]["STATE"] == "PENDING"


def test_a_list_can_be_watched(desk: Desk) -> None:
    """To a pipe it is printed whenever it has changed."""
    first = str(desk.made("--name", "first", "--wait")["ID"])
    program = subprocess.Popen(
        desk.line("list", "-q", "--watch", "0.1"),
        stdout=subprocess.PIPE,
        text=True,
        env=desk.environment(),
    )
    assert program.stdout is not None
    assert program.stdout.readline() == f"{first}\n"
    second = str(desk.made("--name", "second", "--wait")["ID"])
    assert program.stdout.readline() == "\n"
    assert [program.stdout.readline() for _ in range(2)] == [f"{first}\n", f"{second}\n"]
    program.send_signal(signal.SIGINT)
    program.stdout.close()
    assert program.wait(60) == 130


# ---- exit codes ------------------------------------------------------------------------------


def test_a_failed_runtime_is_reported_and_shown(desk: Desk) -> None:
    desk.sandbox.faults.drivers.set("boot", fails=True)
    ran = desk.run("create", "nature", "--wait", "--json")
    assert ran.returncode == codes.RUNTIME_FAILED
    made = json.loads(ran.stdout)["SERVERLESS_RUNTIME"]
    assert made["FAAS"]["STATE"] == "ERROR"
    created, failure = map(json.loads, ran.stderr.splitlines())
    assert created == {"created": made["ID"]}
    assert "failed to boot" in failure["message"]
    assert desk.run("wait", str(made["ID"])).returncode == codes.RUNTIME_FAILED


def test_a_timeout_is_reported_and_the_runtime_shown(desk: Desk) -> None:
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
        (["create", "nature", "--device-info", "1room=1"], 2),
        (["create", "nature", "--device-info", "room"], 2),
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
    assert (ran.returncode, ran.stdout) == (code, ""), ran.stderr
    assert ran.stderr.startswith("provision-engine")
    assert "Traceback" not in ran.stderr
    assert "{" not in ran.stderr, "details are text"


def test_a_refusal_with_one_detail_is_one_line(desk: Desk) -> None:
    ran = desk.run("create", "nobody-has-this")
    assert ran.stderr.count("\n") == 1
    assert ": FAAS.FLAVOUR: nobody-has-this" in ran.stderr
    assert "999" in desk.run("create", "FAILED_DEPLOY").stderr


def test_an_exceeded_quota_is_reported(desk: Desk) -> None:
    desk.sandbox.store.set_quota(USER, VMS=0)
    ran = desk.run("create", "nature")
    assert ran.returncode == codes.UNFULFILLABLE
    assert "limit of 0 reached" in ran.stderr


def test_every_exit_code_is_explained(desk: Desk) -> None:
    explained = desk.done("--help")
    assert all(f"\n    {code:<3}  " in explained for code in codes.MEANINGS)
    named = {value for name, value in vars(codes).items() if isinstance(value, int)}
    assert named < set(codes.MEANINGS)


def test_the_help_of_an_action_has_its_own_options_only(desk: Desk) -> None:
    for action in actions.runtime.commands:
        shown = desk.done(action, "--help")
        assert "provision-engine runtime --help" in shown
        own = set(shown.rpartition("Options of")[0].partition("Options:")[2].split())
        assert not {"--config", "--url", "--json", "--ca-file", "--help", "ID"} & own
    assert all(f"\n  {name} " in desk.done("--help") for name in ("--url", "--json", "delete"))
    assert "\n  rm " not in desk.done("--help")


def test_a_quota_is_a_table_or_json(desk: Desk) -> None:
    desk.sandbox.store.set_quota(USER, VMS=5)
    lines = [line.split() for line in desk.done("quota").splitlines()]
    assert lines[0] == ["QUOTA", "USED", "LIMIT"]
    assert lines[1] == ["VMS", "0", "5"]
    assert desk.json("quota")["VMS"] == {"USED": 0, "LIMIT": 5}


def test_a_delete_can_wait(desk: Desk) -> None:
    made = desk.made("--wait")
    assert desk.done("delete", str(made["ID"]), "--wait") == f"deleted {made['ID']}\n"
    assert desk.json("quota")["VMS"]["USED"] == 0


def test_a_remedy_is_a_command(desk: Desk) -> None:
    number = str(desk.made("--wait")["ID"])
    desk.done("suspend", number, "--wait")
    ran = desk.run("update", number, "--cpu", "2")
    assert (ran.returncode, "POST" in ran.stderr) == (codes.UNFULFILLABLE, False)
    assert "is suspended: provision-engine runtime resume lets it run again" in ran.stderr


def test_errors_are_json_with_json(desk: Desk) -> None:
    error = json.loads(desk.run("show", "999999", "--json").stderr)
    assert error["status"] == 404
    assert error["error"]
    assert error["request_id"]


# ---- credentials -----------------------------------------------------------------------------


def test_one_auth_takes_precedence_over_the_default_file(desk: Desk) -> None:
    file = desk.home / "auth"
    file.write_text(f"{USER}:wrong")
    assert desk.run("list", ONE_AUTH=str(file)).returncode == codes.REFUSED
    file.write_text(f"{USER}:{PASSWORD}")
    (desk.home / ".one/one_auth").write_text(f"{USER}:wrong")
    assert desk.run("list", ONE_AUTH=str(file)).returncode == 0
    assert desk.run("list").returncode == codes.REFUSED
    (desk.home / ".one/one_auth").write_text(f"{USER}:{PASSWORD}")


def test_only_a_terminal_is_prompted_for_credentials(desk: Desk, tmp_path: Path) -> None:
    elsewhere = {"HOME": str(tmp_path / "empty")}
    ran = desk.run("list", **elsewhere)
    assert (ran.returncode, "one_auth" in ran.stderr) == (1, True)
    code, shown = desk.on_terminal(
        "list", typed=[("user", USER), ("Password", PASSWORD)], **elsewhere
    )
    assert code == 0, shown
    assert "No runtimes" in shown
    assert PASSWORD not in shown
    code, shown = desk.on_terminal(
        "list", typed=[("user", USER), ("Password", "wrong")], **elsewhere
    )
    assert code == codes.REFUSED


def test_no_argument_accepts_a_password() -> None:
    for name, action in actions.runtime.commands.items():
        options = {word for one in action.params for word in one.opts}
        assert "--url" in options, name
        assert not options & {"--password", "--user", "--auth", "--token"}, name


# ---- terminals -------------------------------------------------------------------------------


def test_a_terminal_shows_progress_on_one_line(desk: Desk) -> None:
    runtime_id = str(desk.made("--requirements", NO_HOST)["ID"])
    assert wait_until(lambda: "no host satisfies" in desk.done("show", runtime_id))
    code, shown = desk.on_terminal("wait", runtime_id, "--timeout", "1")
    assert code == codes.STILL_WAITING
    assert "\r\x1b[K" in shown
    assert "PENDING" in shown
    assert "no host satisfies" in shown
    # Several writes, all to one line, which is empty at the end.
    progress, _, result = shown.rpartition("\r\x1b[K")
    assert "\n" not in progress
    assert len({line.split(" s  ")[0] for line in progress.split("\r\x1b[K")}) > 2
    assert result.startswith("ID ")


@pytest.mark.parametrize("columns", [40, 80])
def test_a_list_fits_a_terminal(desk: Desk, columns: int) -> None:
    """Names are cut in the middle, and states have a colour."""
    desk.made("--name", "a-camera-with-a-very-long-name-at-the-gate", "--wait", "--lease", "1h")
    desk.made("--requirements", NO_HOST)
    assert wait_until(lambda: "no host satisfies" in desk.done("list"))
    code, shown = desk.on_terminal("list", columns=columns)
    lines = click.unstyle(shown).splitlines()
    assert (code, len(lines)) == (0, 3), shown
    assert max(map(len, lines)) <= columns
    assert lines[0].startswith("ID ")
    assert ("MEM" in lines[0]) == (columns >= 80)
    assert re.search(r" a-ca\S*…\S*gate ", lines[1])
    assert "\x1b[32mRUNNING" in shown
    assert "\x1b[33mPENDING" in shown
    _, plain = desk.on_terminal("list", columns=columns, NO_COLOR="1")
    assert "\x1b" not in plain


def test_a_person_is_told_the_next_step(desk: Desk) -> None:
    _, shown = desk.on_terminal("create", "nature")
    assert re.search(r"provision-engine runtime wait \d+ returns once it is running\r\n$", shown)


def test_a_pipe_gets_no_progress(desk: Desk) -> None:
    runtime_id = str(desk.made("--wait")["ID"])
    ran = desk.run("wait", runtime_id)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_control_characters_are_escaped() -> None:
    assert show.table(["A"], ["\x1b[2Jx\r\n"]) == "A\n\\x1b[2Jx\\r\\n"
