"""Does a worker's memory stay flat while many users send many requests?"""

from __future__ import annotations

import functools
import json
import tempfile
from itertools import cycle, islice
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.device import Device
from benchmarks.figures import at_once
from benchmarks.processes import engine
from provision_engine.sandbox import Sandbox, Timings
from tests.support.installation import Installation
from tests.support.users import USER, User

PARTS = 10
CLIENTS = 4
RUNTIMES_EACH = 5
FLAT = 1.05


def main(requests: int, users: int, *, is_json: bool) -> int:
    """Print the memory of a worker and its master after each tenth; returns 1 if it grows."""
    measured_mb = measure(requests, users)
    # What each user leaves behind is there after the first half, when all had their turn.
    ratio = measured_mb[-1] / measured_mb[len(measured_mb) // 2 - 1]
    if is_json:
        print(json.dumps({"requests": requests, "users": users, "mb": measured_mb, "ratio": ratio}))
    else:
        for part, mb in enumerate(measured_mb, 1):
            print(f"{part * requests // PARTS:>8} requests of {users} users: {mb:.1f} MB")
        print(f"second half / first half: {ratio:.3f} (flat: ≤ {FLAT})")
    return 0 if ratio <= FLAT else 1


def measure(requests: int, users: int) -> list[float]:
    """MB of an engine with one worker after each tenth of the requests: reads and lists."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, users))
    process.start()
    try:
        oned_url, oneflow_url, owned = ours.recv()
        cloud = Installation("", oned_url, oneflow_url, USER)
        with (
            tempfile.TemporaryDirectory() as directory,
            engine(cloud, Path(directory), server={"workers": 1}) as served,
        ):
            found = []
            for part in range(PARTS):
                send = functools.partial(_requests, served.url, owned, requests, part)
                at_once(send, CLIENTS)
                found.append(served.memory_mb())
            return found
    finally:
        ours.send("stop")
        process.join()


def _requests(url: str, owned: dict[int, list[int]], requests: int, part: int, client: int) -> None:
    """A client's share of a tenth: the users take turns, each with a read or a list."""
    share = requests // PARTS // CLIENTS
    users = sorted(owned)
    first = (part * requests // PARTS + client * share) % len(users)
    for turn, user in enumerate(islice(cycle(users[first:] + users[:first]), share)):
        device = Device(url, User(f"user{user}", f"pass{user}"))
        if turn % 5:
            device.read(owned[user][turn % len(owned[user])])
        else:
            device.list(limit=10)
        device.close()


def _serve(control: Connection, users: int) -> None:
    with Sandbox(timings=Timings(vms_visible_seconds=0.0), hosts=2000) as box:
        box.store.populate(users, users * RUNTIMES_EACH, 10)
        owned: dict[int, list[int]] = {}
        for document in box.store.documents():
            if document.uname.startswith("user"):
                owned.setdefault(int(document.uname[4:]), []).append(document.id)
        control.send((box.oned_url, box.oneflow_url, owned))
        while control.recv() != "stop":
            pass
        box.clear_calls()
