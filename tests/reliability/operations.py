"""The operations that the matrices disturb: what has to be there before, and what is asked for."""

from __future__ import annotations

import argparse
import itertools
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Generic, NamedTuple

from tests.reliability import standbys
from tests.reliability.lanes import C, Lane, O, open_lane, run_all, until_accepted, until_count
from tests.support.calls import Call
from tests.support.client import RUNTIMES, SPECIFICATIONS, Response
from tests.support.installation import Target
from tests.support.waiting import wait_until

LEASE_SECONDS = 5000
GROWN = {"CPU": 2, "MEMORY": 700, "DISK_SIZE": 2000}
UPDATED = {
    "SCHEDULING": {"POLICY": "energy"},
    "LEASE": {"TTL": LEASE_SECONDS},
    "NAME": "renamed",
}
ATTEMPTS = 5


Judge = Callable[[Lane, Response, Collection[int]], list[str]]


def _all(calls: Sequence[Call]) -> range:
    return range(len(calls))


class Operation(NamedTuple):
    prepare: Callable[[Lane], None]
    request: Callable[[Lane], Response]
    accepted: tuple[int, ...]
    """Statuses that end the repetition well."""
    runtimes_left: int
    is_repeated: bool = True
    """Whether a client may repeat it without knowing what became of the first request."""
    disturbed: Callable[[Sequence[Call]], range] = _all
    """Which of its calls are disturbed."""
    standbys_judge: Judge | None = None
    """What is wrong after an accepted repetition, beside so many standbys. Only of an operation
    after whose response the engine continues to work."""


def create(lane: Lane) -> Response:
    return lane.request("POST", RUNTIMES, lane.members)


def create_with_key(lane: Lane) -> Response:
    return lane.request("POST", RUNTIMES, lane.members, headers={"Idempotency-Key": lane.key})


def read(lane: Lane) -> Response:
    return lane.request("GET", lane.path)


def list_(lane: Lane) -> Response:
    return lane.request("GET", RUNTIMES)


def update(lane: Lane) -> Response:
    grown = {role: {"FLAVOUR": "", **GROWN} for role in lane.members}
    return lane.request("PUT", lane.path, grown | UPDATED)


def delete(lane: Lane) -> Response:
    return lane.request("DELETE", lane.path)


def recover(lane: Lane) -> Response:
    return lane.request("POST", f"{lane.path}/recover")


def replace(lane: Lane) -> Response:
    return lane.request("POST", f"{lane.path}/recover?replace=true")


# ---- what has to be there before -------------------------------------------------------------


def nothing(lane: Lane) -> None:
    """The operation begins with nothing."""


def running(lane: Lane) -> None:
    """A runtime whose service runs."""
    lane.runtime_id = until_accepted(lambda: create_with_key(lane), (200, 201)).runtime["ID"]
    lane.opennebula.until_service_runs(read_whole(lane)["SERVICE_ID"], 180)
    left = until_count(lane, lane.expected(1))
    assert left == "", left
    lane.is_unsure = False


def powered_off(lane: Lane) -> None:
    """A runtime whose VMs somebody has powered off."""
    _act_on_vms(lane, "poweroff-hard", "POWEROFF")


def lost(lane: Lane) -> None:
    """A runtime whose VMs somebody has terminated."""
    _act_on_vms(lane, "terminate-hard", "DONE")


def _act_on_vms(lane: Lane, action: str, state: str) -> None:
    running(lane)
    vm_ids = sorted(lane.opennebula.vm_ids())
    for vm_id in vm_ids:
        lane.opennebula.call("vm.action", action, vm_id)
    wait_until(lambda: lane.opennebula.vm_states(vm_ids) == {state}, 180, 0.1)


def read_whole(lane: Lane, wait_seconds: int = 0) -> dict[str, Any]:
    """The lane's runtime, read as often as it takes."""
    path = f"{lane.path}?wait={wait_seconds}" if wait_seconds else lane.path
    return until_accepted(lambda: lane.request("GET", path), (200,)).runtime


_TAKE_STANDBY = Operation(
    standbys.ready,
    standbys.take,
    (200, 201),
    1,
    disturbed=standbys.taking,
    standbys_judge=standbys.what_is_wrong,
)
OPERATIONS = {
    "create": Operation(nothing, create, (201,), 0, is_repeated=False),
    "create with key": Operation(nothing, create_with_key, (200, 201), 1),
    "read": Operation(running, read, (200,), 1),
    "list": Operation(running, list_, (200,), 1),
    "update": Operation(running, update, (200,), 1),
    "delete": Operation(running, delete, (204, 404), 0),
    "recover": Operation(powered_off, recover, (200,), 1),
    "replace": Operation(lost, replace, (200,), 1),
    "take standby": _TAKE_STANDBY,
    "order standby": _TAKE_STANDBY._replace(disturbed=standbys.ordering),
}


WHICH = ("all", "changes", "first", "batches")
"""Which calls a matrix disturbs: all of them, those that change something, the first one of each
backend, or those of multicalls with several calls."""


def add_choices(parser: argparse.ArgumentParser, operations: Collection[str]) -> None:
    """The options that choose operations, runtimes and calls."""
    parser.add_argument("--operation", action="append", choices=list(operations))
    parser.add_argument("--specification", action="append", choices=list(SPECIFICATIONS))
    parser.add_argument("--timeout", type=float, help="the engine's, in seconds")
    group = parser.add_mutually_exclusive_group()
    parser.set_defaults(which="all")
    for which in WHICH[1:]:
        group.add_argument(f"--{which}", dest="which", action="store_const", const=which)


class Chosen(NamedTuple):
    call: Call
    number: int
    """Among the calls of that name, counted from 1."""
    follows: bool
    """Whether the call before it in the same multicall is chosen too."""


def chosen_calls(operation: str, calls: Sequence[Call], which: str) -> list[Chosen]:
    """The calls of an operation to disturb. A request that only reads, and is repeated while
    waiting, is taken once.
    """
    disturbed = OPERATIONS[operation].disturbed(calls)
    starts = [index for index, call in enumerate(calls) if call.place == 1]
    requests = [calls[first:end] for first, end in itertools.pairwise([*starts, len(calls)])]
    chosen, numbers, known, previous = list[Chosen](), Counter[str](), set[str](), [Call("", "")]
    for first, request in zip(starts, requests, strict=True):
        is_again = request == previous and not any(call.is_change for call in request)
        previous, follows = list(request), False
        for index, call in enumerate(request, first):
            numbers[call.name] += 1
            is_meant = {
                "all": True,
                "changes": call.is_change,
                "first": call.backend not in known,
                "batches": len(request) > 1,
            }[which]
            follows_now, follows = follows, is_meant and index in disturbed and not is_again
            if follows:
                known.add(call.backend)
                chosen.append(Chosen(call, numbers[call.name], follows_now))
    return chosen


def undisturbed_calls(lane: Lane, operation: str, specification: str) -> list[Call]:
    """The calls that an operation makes when nothing happens, in order.

    An attempt that an overloaded OpenNebula answers late, or whose next standby it does not create,
    is made anew, from the beginning.
    """
    prepare, request, accepted = OPERATIONS[operation][:3]
    continues = OPERATIONS[operation].standbys_judge is not None
    # An engine asks once who a user is, which is a part of no operation.
    lane.request("POST", RUNTIMES, body=b"{", headers={"Idempotency-Key": "a key"})
    for _ in range(ATTEMPTS):
        lane.specification, lane.key = specification, uuid.uuid4().hex
        prepare(lane)
        lane.proxy.calls.clear()
        response = request(lane)
        is_done = response.status in accepted
        if continues:
            standbys.until_idle(lane)
            is_done = is_done and standbys.are_complete(lane)
        calls = list(lane.proxy.calls)
        lane.opennebula.clear()
        if is_done:
            return calls
    raise AssertionError(f"{response.status} {response.content.decode()[:300]}")


Of = tuple[str, str, str]
"""Release, operation and specification."""


class Matrix(NamedTuple, Generic[C, O]):
    """How all calls of operations are disturbed."""

    outcome: Callable[..., O]
    """An outcome of a case."""
    cases_of: Callable[[Of, Sequence[Call]], Iterable[C]]
    """The cases of an operation that makes these calls when nothing happens."""
    fails: Callable[[Of], C]
    """The case of an operation that fails by itself."""
    run_case: Callable[[Lane, C], O]

    def outcomes(
        self,
        aim: Target,
        operations: Sequence[str],
        specifications: Sequence[str],
        directory: Path,
        timeout_seconds: float,
        lanes: int,
        **further: Any,
    ) -> list[O]:
        """Those of everything asked for; ``further`` is for the lanes."""
        opened = partial(
            open_lane,
            aim=aim,
            directory=directory,
            timeout_seconds=timeout_seconds,
            standbys=standbys.settings,
            **further,
        )
        cases, outcomes = list[C](), list[O]()
        for of in itertools.product(aim.releases, operations, specifications):
            try:
                with opened(of[0]) as lane:
                    cases += self.cases_of(of, undisturbed_calls(lane, *of[1:]))
            except AssertionError as error:
                outcomes.append(self.outcome(self.fails(of), wrong=[str(error)]))
        return outcomes + run_all(cases, opened, self.run_case, self.outcome, aim.lanes(lanes))
