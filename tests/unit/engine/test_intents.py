"""The document of an intent, and the mark of a runtime that a later request has to remove."""

from __future__ import annotations

from dataclasses import replace

import pytest

from provision_engine.cloud.objects import User
from provision_engine.engine.safety import intents, worker_identity
from provision_engine.errors import ActionRefused, BackendDown, BackendTimeout, EngineError
from tests.unit.engine.opennebula import NOW, OpenNebula
from tests.unit.engine.test_abandoned import (
    DELETING,
    ID,
    READY,
    STRANGER,
    phase_of,
    request,
    runtime,
)
from tests.unit.support import OWNER


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


def test_what_cannot_be_marked_for_removal_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    opennebula = OpenNebula()
    opennebula.add_runtime(runtime())
    intents.mark_for_removal(request(opennebula), runtime())
    assert phase_of(opennebula) is DELETING
    opennebula.caller = User(OWNER, is_administrator=False)
    opennebula.hidden = {ID}
    assert "could not be marked" not in caplog.text
    intents.mark_for_removal(request(opennebula), runtime())
    assert f"Runtime {ID} could not be marked for removal" in caplog.text
