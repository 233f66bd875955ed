"""What no request waits for."""

from __future__ import annotations

import threading
import time

from provision_engine.cloud.client import Backends, CloudClient, Credentials
from provision_engine.deadline import Deadline
from tests.unit.support import configuration

SECONDS = 0.5


def test_the_time_of_a_background_call_begins_when_it_starts() -> None:
    """Row E: of ten standbys that were ordered together, two were created."""
    cloud = CloudClient(Backends(configuration()), Credentials("u", "p"), Deadline(1))
    left: list[float] = []
    is_done = threading.Event()

    def call(client: CloudClient) -> None:
        left.append(client.deadline.remaining_seconds)
        time.sleep(SECONDS if len(left) == 1 else 0)  # as long as the call behind it may take
        if len(left) == 2:
            is_done.set()

    for _ in range(2):
        cloud.submit_in_background(call, SECONDS)
    assert is_done.wait(60)
    assert left[1] > SECONDS / 2
