"""What crashes and strangers left behind is found, shown, and put in order on request."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from flask.testing import FlaskClient

from provision_engine import cli, one_auth
from provision_engine.app import create_app
from provision_engine.cli import options
from provision_engine.cloud import template
from provision_engine.cloud.client import Backends, CloudClient, Credentials
from provision_engine.cloud.objects import Service
from provision_engine.config import Lock
from provision_engine.deadline import Deadline
from provision_engine.engine.cache import Cache
from provision_engine.engine.context import Context, Memory
from provision_engine.engine.runtime import states
from provision_engine.engine.runtime.model import Phase
from provision_engine.engine.safety.reconcile import Finding, Kind, Outcome, Reconciler, Result
from provision_engine.errors import EngineError
from provision_engine.sandbox import Sandbox
from tests.support.client import FAAS, RUNTIMES
from tests.support.client import authorization as login
from tests.support.client import body_of as body
from tests.support.engine import configuration_for
from tests.support.engine import settings_for as conf
from tests.support.users import ADMINISTRATOR, OTHER, USER, User
from tests.support.waiting import wait_until

STALE_SECONDS = 1.1


@pytest.fixture(params=["6.8.0", "7.4.0"])
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    with Sandbox(release=request.param) as sandbox:
        yield sandbox


def cloud(sandbox: Sandbox, user: User = USER, seconds: float = 10.0) -> CloudClient:
    """Calls to OpenNebula itself, on behalf of a user."""
    backends = Backends(configuration_for(sandbox))
    return CloudClient(backends, Credentials(*user), Deadline(seconds))


@pytest.fixture
def client(sandbox: Sandbox) -> FlaskClient:
    client = create_app(configuration_for(sandbox)).test_client()
    client.sandbox = sandbox  # type: ignore[attr-defined]
    return client


def made(client: FlaskClient) -> dict[str, Any]:
    """A runtime whose service runs."""
    answer = client.post(RUNTIMES, data=body({"FAAS": FAAS}), headers=login())
    assert answer.status_code == 201, answer.text
    runtime: dict[str, Any] = answer.get_json()["SERVERLESS_RUNTIME"]
    one, running = cloud(client.sandbox), 2  # type: ignore[attr-defined]
    wait_until(lambda: one.oned.document(runtime["SERVICE_ID"]).body["state"] == running)
    return runtime


def context(sandbox: Sandbox, user: User = USER, stale_seconds: float = 0.0) -> Context:
    configuration = dataclasses.replace(configuration_for(sandbox), lock=Lock(stale_seconds))
    return Context(cloud(sandbox, user, 30.0), configuration, Memory.empty(Cache(0)))


def reconciler(
    sandbox: Sandbox, user: User = USER, patience_seconds: float = 0.0, stale_seconds: float = 0.0
) -> Reconciler:
    return Reconciler(context(sandbox, user, stale_seconds), patience_seconds)


def mark(sandbox: Sandbox, runtime: dict[str, Any], phase: Phase) -> None:
    runtimes = context(sandbox).runtimes
    runtimes.mark(runtimes.get(runtime["ID"]), phase)


def count_becomes(sandbox: Sandbox, **expected: int) -> bool:
    """Whether that many are left once oneflow has removed what it was told to."""
    return bool(wait_until(lambda: sandbox.store.count() == expected))


NOTHING = {"runtimes": 0, "services": 0, "vms": 0}


def found(sandbox: Sandbox, user: User = USER) -> list[Finding]:
    return reconciler(sandbox, user).find()


def service_state(sandbox: Sandbox, runtime: dict[str, Any]) -> str:
    document = cloud(sandbox).oned.document(runtime["SERVICE_ID"])
    return states.service_state(Service.from_document(document))


def kinds(findings: list[Finding]) -> list[Kind]:
    return [finding.kind for finding in findings]


# ---- ways to be left behind ----------------------------------------------------------------


def leave_half_made(sandbox: Sandbox, runtime: dict[str, Any]) -> None:
    """As an engine does that is killed before it completes the document."""
    mark(sandbox, runtime, Phase.CREATING)


def leave_half_deleted(sandbox: Sandbox, runtime: dict[str, Any]) -> None:
    mark(sandbox, runtime, Phase.DELETING)


def end_service(sandbox: Sandbox, runtime: dict[str, Any]) -> None:
    cloud(sandbox).oneflow.delete_service(runtime["SERVICE_ID"])
    wait_until(lambda: sandbox.store.count()["services"] == 0)


def lose_document(sandbox: Sandbox, runtime: dict[str, Any]) -> None:
    cloud(sandbox).oned.delete_document(runtime["ID"])


def lose_all_but_the_vm(sandbox: Sandbox, runtime: dict[str, Any]) -> None:
    """As earlier engines did that deleted a runtime while its VM was changing."""
    sandbox.store.put_vm(runtime["FAAS"]["VM_ID"], "HOTPLUG_RESIZE")
    one = cloud(sandbox)
    for _ in range(2):
        with suppress(EngineError):
            one.oneflow.purge_service(runtime["SERVICE_ID"])
    one.oned.delete_document(runtime["ID"])
    sandbox.store.put_vm(runtime["FAAS"]["VM_ID"], "RUNNING")


def lock(sandbox: Sandbox, runtime: dict[str, Any]) -> None:
    cloud(sandbox).oned.lock_document(runtime["ID"])


@pytest.mark.parametrize(
    ("leave", "kind", "remedy"),
    [
        (leave_half_made, Kind.UNFINISHED, "remove"),
        (leave_half_deleted, Kind.UNFINISHED, "remove"),
        (end_service, Kind.SERVICE_GONE, "remove"),
        (lose_document, Kind.ORPHAN, "remove"),
        (lose_all_but_the_vm, Kind.LOST_VM, "end"),
    ],
)
def test_what_nobody_needs_is_found_and_removed(
    sandbox: Sandbox,
    client: FlaskClient,
    leave: Callable[[Sandbox, dict[str, Any]], None],
    kind: Kind,
    remedy: str,
) -> None:
    left = made(client)
    leave(sandbox, left)

    findings = found(sandbox)
    assert [(f.kind, f.remedy) for f in findings] == [(kind, remedy)]
    assert (findings[0].owner_id, findings[0].document_id) == (
        2,
        None if kind in (Kind.ORPHAN, Kind.LOST_VM) else left["ID"],
    )
    assert reconciler(sandbox).apply(findings[0]).result is Result.DONE
    assert count_becomes(sandbox, **NOTHING)
    assert found(sandbox) == []


def test_what_lives_is_left_alone(sandbox: Sandbox, client: FlaskClient) -> None:
    runtime = made(client)
    assert found(sandbox) == []
    assert client.get(f"{RUNTIMES}/{runtime['ID']}", headers=login()).status_code == 200


def test_services_of_other_programs_are_left_alone(sandbox: Sandbox) -> None:
    one = cloud(sandbox)
    template_id = sandbox.store.flow_templates()["nature"]
    one.oneflow.instantiate_service(template_id, {"name": "nature_of_somebody"})
    assert found(sandbox) == []


def test_a_failed_service_is_recovered(sandbox: Sandbox, client: FlaskClient) -> None:
    sandbox.faults.drivers.set("boot", fails=True)
    answer = client.post(RUNTIMES, data=body({"FAAS": FAAS}), headers=login())
    runtime = answer.get_json()["SERVERLESS_RUNTIME"]
    (finding,) = wait_until(lambda: found(sandbox))
    assert (finding.kind, finding.detail, finding.remedy) == (
        Kind.FAILED,
        "FAILED_DEPLOYING",
        "recover",
    )
    sandbox.faults.clear()
    # oneflow would deploy what the owner wrote with an administrator's rights.
    by_administrator = reconciler(sandbox, ADMINISTRATOR).apply(finding)
    assert by_administrator == Outcome(finding, Result.FOUND, "only its owner can recover it")
    assert service_state(sandbox, runtime) == "FAILED_DEPLOYING"
    assert reconciler(sandbox).apply(finding).result is Result.DONE
    assert service_state(sandbox, runtime) != "FAILED_DEPLOYING"


def test_a_stale_lock_is_given_back(sandbox: Sandbox, client: FlaskClient) -> None:
    runtime = made(client)
    lock(sandbox, runtime)
    (finding,) = wait_until(lambda: found(sandbox))
    assert (finding.kind, finding.remedy) == (Kind.STALE_LOCK, "unlock")
    later = reconciler(sandbox, stale_seconds=3 * STALE_SECONDS)
    assert wait_until(lambda: later.apply(finding).result is Result.DONE)
    assert cloud(sandbox).oned.document(runtime["ID"]).locked_at is None


def test_who_works_on_it_is_not_disturbed(sandbox: Sandbox, client: FlaskClient) -> None:
    runtime = made(client)
    leave_half_made(sandbox, runtime)
    (finding,) = found(sandbox)
    lock(sandbox, runtime)
    careful = reconciler(sandbox, stale_seconds=600.0)
    assert careful.apply(finding).result is Result.BUSY
    assert count_becomes(sandbox, runtimes=1, services=1, vms=1)


def test_what_has_changed_since_is_left_alone(sandbox: Sandbox, client: FlaskClient) -> None:
    runtime = made(client)
    leave_half_made(sandbox, runtime)
    (finding,) = found(sandbox)
    mark(sandbox, runtime, Phase.READY)
    assert reconciler(sandbox).apply(finding).result is Result.GONE
    assert count_becomes(sandbox, runtimes=1, services=1, vms=1)


def test_what_is_young_is_not_found(sandbox: Sandbox, client: FlaskClient) -> None:
    leave_half_made(sandbox, made(client))
    lose_document(sandbox, made(client))
    assert reconciler(sandbox, patience_seconds=600).find() == []
    assert sorted(kinds(found(sandbox))) == [Kind.ORPHAN, Kind.UNFINISHED]


def test_a_document_that_no_engine_wrote_is_only_shown(
    sandbox: Sandbox, client: FlaskClient
) -> None:
    runtime = made(client)
    one = cloud(sandbox)
    # Its service is an orphan from then on, and would not be if the text still named it.
    one.oned.update_document(runtime["ID"], template.document_body("{broken"))
    findings = found(sandbox)
    assert kinds(findings) == [Kind.UNREADABLE, Kind.ORPHAN]
    finding = findings[0]
    assert reconciler(sandbox).apply(finding).result is Result.FOUND
    assert sandbox.store.count()["runtimes"] == 1


def test_a_user_sees_own_things_and_an_administrator_everybodys(
    sandbox: Sandbox, client: FlaskClient
) -> None:
    lose_document(sandbox, made(client))
    leave_half_made(sandbox, made(client))
    assert found(sandbox, OTHER) == []
    assert len(found(sandbox, USER)) == 2
    everything = found(sandbox, ADMINISTRATOR)
    assert len(everything) == 2
    assert {finding.owner_id for finding in everything} == {2}
    settled = [reconciler(sandbox, ADMINISTRATOR).apply(f).result for f in everything]
    assert settled == [Result.DONE, Result.DONE]
    assert count_becomes(sandbox, **NOTHING)


def test_a_start_that_was_late_leaves_an_orphan(sandbox: Sandbox, client: FlaskClient) -> None:
    """oneflow carries out an instantiate long after its engine has died and was cleaned up."""
    runtime = made(client)
    one = cloud(sandbox)
    name = one.oned.document(runtime["ID"]).name
    template_id = sandbox.store.flow_templates()["nature"]
    one.oneflow.instantiate_service(template_id, {"name": name})
    findings = found(sandbox)
    assert kinds(findings) == [Kind.ORPHAN]
    assert findings[0].service_id != runtime["SERVICE_ID"]
    assert reconciler(sandbox).apply(findings[0]).result is Result.DONE
    assert count_becomes(sandbox, runtimes=1, services=1, vms=1)


# ---- the command ---------------------------------------------------------------------------


@pytest.fixture
def run(
    sandbox: Sandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., tuple[int, str]]:
    """Calls the command with credentials in a file; its exit code and what it prints."""
    engine_conf, one_auth = tmp_path / "engine.conf", tmp_path / "one_auth"
    settings = conf(sandbox, timeout=0.5, lock={"stale_seconds": STALE_SECONDS})
    engine_conf.write_text(yaml.safe_dump(settings))
    one_auth.write_text(f"{USER.session}\n")
    monkeypatch.setenv("ONE_AUTH", str(one_auth))

    def run(*arguments: str) -> tuple[int, str]:
        code = cli.main(["reconcile", "--config", str(engine_conf), *arguments])
        printed = capsys.readouterr()
        sys.stderr.write(printed.err)
        return code, printed.out

    return run


def test_nothing_is_changed_without_apply(
    sandbox: Sandbox, client: FlaskClient, run: Callable[..., tuple[int, str]]
) -> None:
    assert run("--older-than", "0") == (0, "Nothing is wrong.\n")
    left = made(client)
    leave_half_made(sandbox, left)
    before = sandbox.store.count()
    wait_until(lambda: "unfinished (CREATING)" in run("--older-than", "0")[1])
    sandbox.clear_calls()
    code, shown = run("--older-than", "0")
    assert code == 0
    assert shown.splitlines()[-1] == "1 found. Nothing was changed: --apply does it."
    reads = {"one.user.info", "one.documentpool.info", "one.vmpool.infoextended"}
    assert {call.method for call in sandbox.calls} == reads
    assert sandbox.store.count() == before

    code, shown = run("--older-than", "0", "--apply")
    assert (code, shown.splitlines()[-1]) == (0, "1 done.")
    assert count_becomes(sandbox, **NOTHING)


def test_json_has_one_object_for_each(
    sandbox: Sandbox, client: FlaskClient, run: Callable[..., tuple[int, str]]
) -> None:
    left = made(client)
    lose_document(sandbox, left)
    code, shown = wait_until(
        lambda: done if (done := run("--json", "--older-than", "0"))[1] != "[]\n" else None
    )
    (told,) = json.loads(shown)
    assert code == 0
    assert (told["kind"], told["service"], told["document"], told["remedy"], told["result"]) == (
        "orphan",
        left["SERVICE_ID"],
        None,
        "remove",
        "found",
    )
    assert run("--json")[1] == "[]\n"  # ten minutes have not passed


def test_what_cannot_be_done_makes_the_exit_code_1(
    sandbox: Sandbox, client: FlaskClient, run: Callable[..., tuple[int, str]]
) -> None:
    lose_document(sandbox, made(client))
    wait_until(lambda: "orphan" in run("--older-than", "0")[1])
    sandbox.faults.set("oneflow", "error")
    code, shown = run("--older-than", "0", "--apply")
    assert (code, shown.splitlines()[-1]) == (1, "1 failed.")
    sandbox.faults.set("oned", "refuse")
    assert run("--older-than", "0")[0] == 1


@pytest.mark.parametrize("wrong", ["10x", "-1", "", "1e9", "ten"])
def test_a_time_that_is_none_is_a_wrong_command_line(
    run: Callable[..., tuple[int, str]], wrong: str
) -> None:
    assert run("--older-than", wrong) == (2, "")


@pytest.mark.parametrize(
    ("text", "seconds"), [("600", 600), ("45s", 45), ("10m", 600), ("2h", 7200), ("1.5d", 129_600)]
)
def test_times(text: str, seconds: float) -> None:
    assert options.duration_seconds(text) == seconds


@pytest.mark.parametrize(
    "content", [None, b"", b"devuser\n", b":devpass\n", b"devuser:\n", b"\xff"]
)
def test_credentials_that_cannot_be_read_are_told(
    run: Callable[..., tuple[int, str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    content: bytes | None,
) -> None:
    one_auth = tmp_path / "one_auth"
    one_auth.unlink()
    if content is not None:
        one_auth.write_bytes(content)
    assert run()[0] == 1
    assert f"provision-engine: {one_auth}: " in capsys.readouterr().err


def test_a_password_may_hold_colons(tmp_path: Path) -> None:
    file = tmp_path / "one_auth"
    file.write_text("user:pass:word\n")
    assert one_auth.read({"ONE_AUTH": str(file)}) == ("user", "pass:word")
