"""The bound on connections: nobody is overtaken, nothing is lost."""

from __future__ import annotations

import threading
import time

from provision_engine.cloud.transport import Slots

PATIENCE_SECONDS = 30.0


def test_only_so_many_are_acquired() -> None:
    slots = Slots(2)
    assert [slots.acquire(0) for _ in range(3)] == [True, True, False]
    slots.release()
    assert [slots.acquire(0) for _ in range(2)] == [True, False]


def test_a_slot_is_handed_to_whoever_waits_and_not_to_a_newcomer() -> None:
    slots = Slots(1)
    assert slots.acquire(0)
    queued, acquired = threading.Event(), []

    def wait() -> None:
        queued.set()
        acquired.append(slots.acquire(PATIENCE_SECONDS))

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert queued.wait(PATIENCE_SECONDS)
    time.sleep(0.05)
    slots.release()
    assert not slots.acquire(0)
    waiting.join(PATIENCE_SECONDS)
    assert acquired == [True]


def test_who_waited_in_vain_takes_no_slot() -> None:
    slots = Slots(1)
    assert slots.acquire(0)
    assert not slots.acquire(0.01)
    slots.release()
    assert slots.acquire(0)
