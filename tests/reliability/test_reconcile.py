"""What crashes and strangers left behind is found, shown, and put in order on request."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from provision_engine.sandbox import Sandbox
from tests.conftest import Printed
from tests.support.client import FAAS, Device, Json
from tests.support.engine import engine_in_process, settings_for
from tests.support.installation import MovableClock
from tests.support.opennebula import OpenNebula, calls_of
from tests.support.users import ADMINISTRATOR, OTHER, USER, User
from tests.support.waiting import wait_until

FAILED_DEPLOYING = 7
LATER_SECONDS = 300.0
"""Longer than any request of these engines, and shorter than the usual ``--older-than``."""
NOTHING = {"runtimes": 0, "services": 0, "VMs": 0, "locks": 0}
ONE = {"runtimes": 1, "services": 1, "VMs": 1, "locks": 0}
Run = Callable[..., Printed]


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture(params=["6.8.0", "7.4.0"])
def sandbox(request: pytest.FixtureRequest, clock: MovableClock) -> Iterator[Sandbox]:
    with Sandbox(release=request.param, clock=clock) as sandbox:
        yield sandbox


class Scene(NamedTuple):
    """OpenNebula, an engine, and the command, some time after what was left behind."""

    sandbox: Sandbox
    clock: MovableClock
    device: Device
    one: OpenNebula
    run: Run

    def make(self) -> Json:
        """A runtime whose service runs."""
        runtime = self.device.create(FAAS=FAAS)
        self.one.until_service_runs(runtime["SERVICE_ID"])
        return runtime

    def mark(self, runtime: Json, phase: str) -> None:
        """Write a phase into the document, as an engine that is killed then."""
        body = self.one.body_of(runtime["ID"])
        body["ENGINE"]["PHASE"] = phase
        self.one.write(runtime["ID"], body)

    def reconcile(self, *arguments: str, user: User = USER) -> Printed:
        """The command, long after everything that has been done so far."""
        self.clock.ahead_seconds += LATER_SECONDS
        return self.run("reconcile", "--older-than", "0", *arguments, user=user)

    def found(self, *arguments: str, user: User = USER) -> list[dict[str, Any]]:
        printed = self.reconcile("--json", *arguments, user=user)
        assert printed.code == 0, printed
        found: list[dict[str, Any]] = json.loads(printed.out)
        return found

    def results(self, user: User = USER) -> list[str]:
        """What becomes of everything that is found."""
        return [finding["result"] for finding in self.found("--apply", user=user)]

    def until_left(self, expected: dict[str, int]) -> None:
        """Wait until oneflow has removed what it was told to."""
        wait_until(lambda: self.one.count() == expected)

    def before_lock(self, change: Callable[[], object]) -> None:
        """Let something happen between finding a document and locking it."""

        def on_call(call: Any, moment: str) -> None:
            if (call.method, moment) == ("one.document.lock", "before"):
                self.sandbox.on_call = None
                change()

        self.sandbox.on_call = on_call


@pytest.fixture
def scene(sandbox: Sandbox, clock: MovableClock, one: OpenNebula, run: Run) -> Iterator[Scene]:
    with engine_in_process(settings_for(sandbox)) as url:
        yield Scene(sandbox, clock, Device(url), one, run)


# ---- ways to be left behind ----------------------------------------------------------------


def leave_half_made(scene: Scene, runtime: Json) -> None:
    """As an engine does that is killed before it completes the document."""
    scene.mark(runtime, "CREATING")


def leave_half_deleted(scene: Scene, runtime: Json) -> None:
    scene.mark(runtime, "DELETING")


def end_service(scene: Scene, runtime: Json) -> None:
    scene.one.flow("DELETE", f"/service/{runtime['SERVICE_ID']}")
    wait_until(lambda: scene.one.count()["services"] == 0)


def lose_document(scene: Scene, runtime: Json) -> None:
    scene.one.call("document.delete", runtime["ID"])


def lose_all_but_the_vm(scene: Scene, runtime: Json) -> None:
    """As earlier engines did that deleted a runtime while its VM was changing."""
    scene.sandbox.store.put_vm(runtime["FAAS"]["VM_ID"], "HOTPLUG_RESIZE")
    for _ in range(2):
        scene.one.end_service(runtime["SERVICE_ID"])
    lose_document(scene, runtime)
    scene.sandbox.store.put_vm(runtime["FAAS"]["VM_ID"], "RUNNING")


@pytest.mark.parametrize(
    ("leave", "kind", "remedy"),
    [
        (leave_half_made, "unfinished", "remove"),
        (leave_half_deleted, "unfinished", "remove"),
        (end_service, "service gone", "remove"),
        (lose_document, "orphan", "remove"),
        (lose_all_but_the_vm, "lost VM", "end"),
    ],
)
def test_what_nobody_needs_is_found_and_removed(
    scene: Scene, leave: Callable[[Scene, Json], None], kind: str, remedy: str
) -> None:
    left = scene.make()
    leave(scene, left)
    (finding,) = scene.found()
    assert (finding["kind"], finding["remedy"], finding["owner"]) == (kind, remedy, 2)
    assert finding["document"] == (None if kind in ("orphan", "lost VM") else left["ID"])
    assert scene.results() == ["done"]
    scene.until_left(NOTHING)
    assert scene.found() == []


def test_what_lives_is_left_alone(scene: Scene) -> None:
    """Also the services of other programs."""
    runtime = scene.make()
    scene.one.start_service(scene.one.flow_template_id("nature"), "nature_of_somebody")
    assert scene.found("--apply") == []
    assert scene.device.get(runtime["ID"]).status == 200


def test_a_failed_service_is_recovered(scene: Scene) -> None:
    scene.sandbox.faults.drivers.set("boot", fails=True)
    runtime = scene.device.create(FAAS=FAAS)
    wait_until(lambda: scene.one.service_state(runtime["SERVICE_ID"]) == FAILED_DEPLOYING)
    (finding,) = scene.found()
    assert (finding["kind"], finding["detail"]) == ("failed", "FAILED_DEPLOYING")
    assert finding["remedy"] == "recover"
    scene.sandbox.faults.clear()
    # oneflow would deploy what the owner wrote with an administrator's rights.
    (by_administrator,) = scene.found("--apply", user=ADMINISTRATOR)
    assert by_administrator["result"] == "found"
    assert by_administrator["reason"] == "only its owner can recover it"
    assert scene.one.service_state(runtime["SERVICE_ID"]) == FAILED_DEPLOYING
    assert scene.results() == ["done"]
    assert scene.one.service_state(runtime["SERVICE_ID"]) != FAILED_DEPLOYING


def test_a_stale_lock_is_given_back(scene: Scene) -> None:
    runtime = scene.make()
    scene.one.call("document.lock", runtime["ID"], 3, True)
    (finding,) = scene.found()
    assert (finding["kind"], finding["remedy"]) == ("stale lock", "unlock")
    assert scene.results() == ["done"]
    assert scene.one.locks() == set()


def test_who_works_on_it_is_not_disturbed(scene: Scene) -> None:
    runtime = scene.make()
    leave_half_made(scene, runtime)
    scene.before_lock(lambda: scene.one.call("document.lock", runtime["ID"], 3, True))
    assert scene.results() == ["busy"]
    scene.until_left(ONE | {"locks": 1})


def test_what_has_changed_since_is_left_alone(scene: Scene) -> None:
    runtime = scene.make()
    leave_half_made(scene, runtime)
    scene.before_lock(lambda: scene.mark(runtime, "READY"))
    assert scene.results() == ["gone by itself"]
    scene.until_left(ONE)


def test_what_is_young_is_not_found(scene: Scene) -> None:
    """Neither than the command's time, nor than any request may be."""
    leave_half_made(scene, scene.make())
    lose_document(scene, scene.make())
    for arguments in ([], ["--older-than", "0"]):
        assert scene.run("reconcile", "--json", *arguments).out == "[]\n"
    assert sorted(finding["kind"] for finding in scene.found()) == ["orphan", "unfinished"]
    assert scene.run("reconcile", "--json").out == "[]\n"  # ten minutes have not passed


def test_a_document_that_no_engine_wrote_is_only_shown(scene: Scene) -> None:
    # Its service is an orphan from then on, and would not be if the text still named it.
    scene.one.write(scene.make()["ID"], "{broken")
    results = {finding["kind"]: finding["result"] for finding in scene.found("--apply")}
    assert results == {"unreadable": "found", "orphan": "done"}
    assert scene.one.count()["runtimes"] == 1


def test_a_user_sees_own_things_and_an_administrator_everybodys(scene: Scene) -> None:
    lose_document(scene, scene.make())
    leave_half_made(scene, scene.make())
    assert scene.found(user=OTHER) == []
    for user in (USER, ADMINISTRATOR):
        owners = [(one["owner"], one["owner_name"]) for one in scene.found(user=user)]
        assert owners == [(2, "devuser")] * 2
    assert " devuser " in scene.reconcile().out
    assert scene.results(ADMINISTRATOR) == ["done", "done"]
    scene.until_left(NOTHING)


def test_a_start_that_was_late_leaves_an_orphan(scene: Scene) -> None:
    """oneflow carries out an instantiate long after its engine has died and was cleaned up."""
    runtime = scene.make()
    name = scene.one.document(runtime["ID"]).findtext("NAME") or ""
    late_id = scene.one.start_service(scene.one.flow_template_id("nature"), name)
    (finding,) = scene.found("--apply")
    assert (finding["kind"], finding["service"], finding["result"]) == ("orphan", late_id, "done")
    scene.until_left(ONE)


# ---- the command ---------------------------------------------------------------------------


def test_nothing_is_changed_without_apply(scene: Scene) -> None:
    assert scene.reconcile() == (0, "Nothing is wrong.\n", "")
    leave_half_made(scene, scene.make())
    scene.sandbox.clear_calls()
    printed = scene.reconcile()
    assert printed.code == 0
    assert "unfinished (CREATING)" in printed.out
    assert printed.out.splitlines()[-1] == "1 found. Nothing was changed: --apply does it."
    reads = {"one.user.info", "one.documentpool.info", "one.vmpool.infoextended"}
    assert {call.method for call in calls_of(scene.sandbox)} == reads
    assert scene.one.count() == ONE
    printed = scene.reconcile("--apply")
    assert (printed.code, printed.out.splitlines()[-1]) == (0, "1 done.")
    scene.until_left(NOTHING)


def test_json_has_one_object_for_each(scene: Scene) -> None:
    left = scene.make()
    lose_document(scene, left)
    (told,) = scene.found()
    known = {"kind": "orphan", "service": left["SERVICE_ID"], "document": None, "owner": 2}
    known |= {"owner_name": "devuser", "remedy": "remove", "result": "found", "reason": ""}
    assert told.items() >= known.items()
    assert told.keys() == {*known, "name", "age_seconds", "detail"}


def test_what_cannot_be_done_makes_the_exit_code_1(scene: Scene) -> None:
    lose_document(scene, scene.make())
    scene.sandbox.faults.set("oneflow", "error")
    printed = scene.reconcile("--apply")
    assert (printed.code, printed.out.splitlines()[-1]) == (1, "1 failed.")
    scene.sandbox.faults.set("oned", "refuse")
    assert scene.reconcile().code == 1


def test_an_opennebula_that_is_down_is_one_line(scene: Scene) -> None:
    scene.sandbox.faults.set("oned", "refuse")
    printed = scene.reconcile()
    assert (printed.code, printed.out, printed.err.count("\n")) == (1, "", 1)
    assert printed.err.startswith("provision-engine: OpenNebula is unreachable: oned: ")


@pytest.mark.parametrize("wrong", ["10x", "-1", "", "1e9", "ten"])
def test_a_time_that_is_none_is_a_wrong_command_line(run: Run, wrong: str) -> None:
    assert run("reconcile", "--older-than", wrong).code == 2
