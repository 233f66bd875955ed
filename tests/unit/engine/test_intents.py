"""An intent is written first; a start that fails leaves nothing, or says so."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest

from provision_engine.cloud.enums import DocumentType, LcmState, ServiceState, VmState
from provision_engine.deadline import Deadline
from provision_engine.engine.runtime.model import Phase, Runtime
from provision_engine.engine.safety import intents, worker_identity
from provision_engine.errors import (
    ActionRefused,
    BackendDown,
    BackendTimeout,
    DeployFailed,
    EngineError,
    Locked,
    NotFound,
)
from tests.unit.engine.opennebula import NOW, OpenNebula
from tests.unit.engine.test_abandoned import STRANGER, request, runtime
from tests.unit.support import OWNER, function

ID, SERVICE, VM = 900, 950, 7
ONEFLOW_USER = 1
NAME = "nature_2f347b8c-4f5a-4d17-98bc-4680dcbbf9b0"
CREATING, READY = Phase.CREATING, Phase.READY
REPLACING, DELETING = Phase.REPLACING, Phase.DELETING


class Timed(OpenNebula):
    """Has deadlines, but short ones: what is waited for in vain ends the test soon."""

    def __init__(self, seconds: float = 0.3) -> None:
        super().__init__(vms={VM: (VmState.ACTIVE, LcmState.RUNNING)})
        self.deadline = Deadline(seconds)
        self.at_purge: list[tuple[tuple[Phase, int | None] | None, float]] = []
        """What was stored when oneflow was asked to end a service, and the seconds left."""

    def with_deadline(self, deadline: Deadline) -> Timed:
        limited = copy.copy(self)
        limited.deadline, limited.oned, limited.oneflow = deadline, limited, limited
        return limited

    def purge_service(self, service_id: int) -> None:
        self.at_purge.append((stored(self), self.deadline.remaining_seconds))
        super().purge_service(service_id)


@dataclass
class Plan:
    """Fails where it is told to; the service may have been started all the same."""

    opennebula: OpenNebula
    at_start: EngineError | None = None
    state: ServiceState = ServiceState.DEPLOYING
    is_started: bool = True
    owner_of_vms: int = OWNER
    role_names: ClassVar = {"FAAS": "FAAS"}
    seconds: float = 0.0
    """What was left at the start."""

    def start(self, cloud: Any, name: str) -> int:
        self.seconds = cloud.deadline.remaining_seconds
        if self.is_started:
            vms = [VM], SERVICE, name, self.owner_of_vms
            self.opennebula.add_service(self.state, *vms)
        if self.at_start:
            raise self.at_start
        return SERVICE


def start(
    opennebula: OpenNebula,
    plan: Plan,
    phase: Phase = CREATING,
    after: Phase = READY,
    check: Callable[[], None] = lambda: None,
) -> Runtime:
    functions = {"FAAS": function("nature", 1, 1, 1)}
    runtime = Runtime(ID, NAME, functions, OWNER, service_name=NAME, phase=phase, created_at=NOW)
    opennebula.add_runtime(runtime)
    planned: Any = plan
    return intents.start(opennebula.request(), runtime, planned, after, check=check)


def stored(opennebula: OpenNebula) -> tuple[Phase, int | None] | None:
    """Phase and service of the document, if that is still there."""
    if ID not in opennebula.pool:
        return None
    runtime = opennebula.request().runtimes.get(ID)
    return runtime.phase, runtime.service_id


@pytest.mark.parametrize("before", [CREATING, REPLACING])
@pytest.mark.parametrize("after", [READY, Phase.STANDBY])
def test_a_runtime_has_its_service_and_vms_when_it_is_started(before: Phase, after: Phase) -> None:
    opennebula = Timed()
    runtime = start(opennebula, Plan(opennebula), before, after=after)
    assert (runtime.phase, runtime.vm_ids) == (after, [VM])
    assert stored(opennebula) == (after, SERVICE)


REFUSED, LOST, FAILED = BackendDown("no"), BackendTimeout("late"), ServiceState.FAILED_DEPLOYING


@pytest.mark.parametrize(
    ("plan", "of_create", "of_replacement"),
    [
        ({"at_start": REFUSED, "is_started": False}, None, (READY, None)),
        ({"at_start": LOST, "is_started": False}, (DELETING, None), (REPLACING, None)),
        ({"at_start": LOST}, None, (READY, None)),
        ({"state": FAILED}, None, (READY, None)),
        ({"owner_of_vms": ONEFLOW_USER}, None, (READY, None)),
    ],
)
def test_a_service_that_was_started_in_vain_is_ended(
    plan: dict[str, Any],
    of_create: tuple[Phase, None] | None,
    of_replacement: tuple[Phase, None],
) -> None:
    for phase, expected in ((CREATING, of_create), (REPLACING, of_replacement)):
        opennebula = Timed()
        with pytest.raises(EngineError):
            start(opennebula, Plan(opennebula, **plan), phase)
        assert stored(opennebula) == expected
        assert not opennebula.ids(DocumentType.SERVICE)


@pytest.mark.parametrize(
    ("phase", "expected"), [(CREATING, (DELETING, None)), (REPLACING, (REPLACING, SERVICE))]
)
def test_what_cannot_be_ended_yet_is_written_down(
    phase: Phase, expected: tuple[Phase, int | None]
) -> None:
    opennebula = Timed()
    opennebula.purges_refused = 100
    with pytest.raises(DeployFailed):
        start(opennebula, Plan(opennebula, state=FAILED), phase)
    assert stored(opennebula) == expected
    assert opennebula.at_purge[0][0] == expected, "oneflow may end it long after its response"


def test_vms_are_ended_whose_service_oneflow_has_removed_meanwhile() -> None:
    opennebula = Timed()
    opennebula.vms_by_id[VM] = replace(opennebula.vms_by_id[VM], service_id=SERVICE)
    with pytest.raises(NotFound):
        start(opennebula, Plan(opennebula, is_started=False))
    assert opennebula.events == [("order", VM, 0), ("terminate-hard", VM)]
    assert stored(opennebula) is None


def test_what_cannot_be_marked_for_removal_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    opennebula = Timed()
    opennebula.hidden = {ID}
    with pytest.raises(DeployFailed):
        start(opennebula, Plan(opennebula, state=FAILED))
    assert f"Runtime {ID} could not be marked for removal" in caplog.text


def test_there_is_time_to_undo_a_start_when_the_requests_own_time_is_over() -> None:
    opennebula = Timed(0.0)
    with pytest.raises(DeployFailed):
        start(opennebula, Plan(opennebula, state=FAILED))
    assert opennebula.at_purge[0][1] == pytest.approx(0.6, abs=0.1)


def test_where_a_check_prevents_the_start_only_the_document_is_removed() -> None:
    opennebula = Timed()

    def check() -> None:
        raise Locked("another create is first")

    with pytest.raises(Locked):
        start(opennebula, Plan(opennebula), check=check)
    assert (stored(opennebula), opennebula.ids(DocumentType.SERVICE)) == (None, [])


@pytest.mark.parametrize(("seconds", "left"), [(0.4, 0.3), (100, 94)])
def test_a_quarter_of_the_time_is_kept_for_undoing_and_six_seconds_at_most(
    seconds: float, left: float
) -> None:
    opennebula = Timed(seconds)
    plan = Plan(opennebula)
    start(opennebula, plan)
    assert plan.seconds == pytest.approx(left, abs=0.05)


# ---- the document of an intent -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "is_withdrawn"),
    [
        (BackendTimeout("slow"), True),
        (BackendDown("no connection"), False),
        (ActionRefused("no"), False),
    ],
)
def test_an_intent_whose_response_is_lost_is_withdrawn(
    error: EngineError, is_withdrawn: bool
) -> None:
    opennebula = OpenNebula()
    others = [{"service_name": "x"}, {"created_at": NOW}, {"phase": READY}, {"owner_id": STRANGER}]
    for number, other in enumerate(others, ID + 1):
        opennebula.add_runtime(replace(runtime(**other), id=number))
    allocate = opennebula.allocate_document

    def allocated(template: str, document_type: int) -> int:
        allocate(template, document_type)
        raise error

    opennebula.allocate_document = allocated  # type: ignore[method-assign]
    with pytest.raises(type(error)):
        intents.write_intent(request(opennebula), runtime())
    assert len(opennebula.pool) == 4 + (not is_withdrawn)


def test_an_intent_is_written_with_its_process() -> None:
    opennebula = OpenNebula()
    written = intents.write_intent(request(opennebula), runtime())
    assert request(opennebula).runtimes.get(written.id).worker == worker_identity.current()
