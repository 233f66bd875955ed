"""The recorder, on a sandbox in the place of a real OpenNebula whose ids have come further."""

from __future__ import annotations

from pathlib import Path

import pytest

from provision_engine.sandbox import Sandbox

from . import record, replay


@pytest.mark.parametrize("release", replay.RELEASES)
def test_a_recording_is_played_with_the_ids_of_the_installation(
    release: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = ("multicall-writes", "multicall-locks", "admin-bits", "handing-over", "vm-filters")
    calls = [call | {"at": 0, "ms": 0} for call in replay.recorded(release)]
    calls = [call for call in calls if call["scenario"] in wanted]
    with Sandbox(release) as sandbox:
        store = sandbox.world.store
        store.add_user("stranger", "strangerpass")
        for pool in (store.documents, store.vms, store.vm_templates, store.users, store.groups):
            pool.next_id = 5_000
        backends = replay.Backends(sandbox.oned_url, sandbox.oneflow_url, replay.PASSWORDS)
        recorder = record.Recorder(backends, tmp_path, record.Ids())
        for call in calls:
            recorder.play(call)
        backends.close()
    assert capsys.readouterr().out == ""
    named = [call["params"][0] for call in recorder.recorded if call["method"] == "one.vm.chmod"]
    assert min(named) >= 5_000
