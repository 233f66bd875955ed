"""Whether the process that wrote a document is still alive, as far as can be determined."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from provision_engine.engine.safety import worker_identity

WAITS = (
    "import sys\n"
    "from provision_engine.engine.safety import worker_identity\n"
    "print(worker_identity.current(), flush=True)\n"
    "sys.stdin.read()\n"
)


@pytest.fixture
def child() -> subprocess.Popen[str]:
    """Another process of this host, which ends when its standard input does."""
    return subprocess.Popen(
        [sys.executable, "-c", WAITS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def own(**parts: str) -> str:
    """The identity of this process, with some parts replaced."""
    words = dict(
        zip(("host", "process", "started"), worker_identity.current().split(), strict=True)
    )
    return " ".join((words | parts).values())


def test_this_process_lives() -> None:
    assert worker_identity.current() == worker_identity.current()
    assert not worker_identity.is_gone(worker_identity.current())


def test_a_process_that_ended_is_gone_also_before_its_parent_has_noticed(
    child: subprocess.Popen[str],
) -> None:
    assert child.stdin
    assert child.stdout
    with child:
        identity = child.stdout.readline().strip()
        assert identity != worker_identity.current()
        assert not worker_identity.is_gone(identity)
        child.stdin.close()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert worker_identity.is_gone(identity), "it is a zombie now"
        child.wait()
        assert worker_identity.is_gone(identity)


def test_a_process_that_has_the_id_of_one_that_ended_is_another() -> None:
    assert worker_identity.is_gone(own(started="1"))


NOBODY_CAN_TELL = {
    "empty": "",
    "garbage": "garbage",
    "three words": "a b c",
    "four words": "a b c d",
    "another host": own(host="another-boot/4026531836", started="1"),
    "another namespace": own(host=own().split()[0].rpartition("/")[0] + "/1", started="1"),
    "no number": own(process="x"),
    "below zero": own(process="-1"),
    "a part": own(process="1.5"),
    "a digit that is not a number": own(process="²"),
    "more than any process id": own(process="9" * 30),
    "a word less": own(process=""),
    "a word more": own() + " more",
}


@pytest.mark.parametrize("identity", NOBODY_CAN_TELL.values(), ids=NOBODY_CAN_TELL)
def test_nothing_is_concluded_about_any_other_process(identity: str) -> None:
    assert worker_identity.is_gone(identity) is False


def test_nothing_is_concluded_where_the_system_does_not_tell_its_boot(
    monkeypatch: pytest.MonkeyPatch, tmp_path: os.PathLike[str]
) -> None:
    before = own(started="1")
    monkeypatch.setattr(worker_identity, "_PROC", tmp_path)
    worker_identity._host.cache_clear()
    try:
        assert not worker_identity.is_gone(before)
        assert not worker_identity.is_gone(worker_identity.current())
    finally:
        monkeypatch.undo()
        worker_identity._host.cache_clear()
    assert worker_identity.is_gone(before)
