"""Helpers for tests of the lifecycle: hand-written documents, counted calls, parallel requests."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import requests

from provision_engine.sandbox import Sandbox

from .device import PATH, Device, Json, check_runtime, small
from .opennebula import RUNTIME, OpenNebula
from .settings import FLAVOUR

NO_HOST = "FREE_CPU > 1000000"
"""Requirements that no host satisfies."""


@contextmanager
def counted(sandbox: Sandbox) -> Iterator[Counter[str]]:
    """Counts the calls that reach OpenNebula, by method (oned) or method and path (oneflow)."""
    calls: Counter[str] = Counter()
    already = len(sandbox.calls)
    yield calls
    for call in sandbox.calls[already:]:
        if call.method == "system.multicall":
            continue  # its calls have records of their own
        calls[call.method if call.backend == "oned" else f"{call.method} {call.path}"] += 1


@contextmanager
def beside(call: Callable[[], Any]) -> Iterator[Future[Any]]:
    """A request that is in flight while the test does something else."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(call)


def listed(device: Device, **query: Any) -> list[Json]:
    """All runtimes of a list, on one page."""
    return page(device, PATH, **query)[0]


def page(device: Device, path: str, **query: Any) -> tuple[list[Json], str]:
    """A page and the address of the next one, empty on the last."""
    answer = device.request("GET", path, params=query)
    assert answer.status_code == 200, answer.text
    runtimes = [entry["SERVERLESS_RUNTIME"] for entry in answer.json()]
    for runtime in runtimes:
        if "SERVICE_ID" in runtime:
            check_runtime(runtime)
    return runtimes, answer.links.get("next", {}).get("url", "")


def ids(runtimes: list[Json]) -> list[int]:
    return [runtime["ID"] for runtime in runtimes]


def stuck(device: Device, **members: Any) -> Json:
    """A runtime that stays PENDING."""
    return device.create(FAAS=small(), SCHEDULING={"REQUIREMENTS": NO_HOST}, **members)


def release(sandbox: Sandbox, runtime: Json) -> None:
    """Let a stuck runtime find its host."""
    sandbox.store.set_user_template(runtime["FAAS"]["VM_ID"], 'SCHED_REQUIREMENTS="FREE_CPU > 0"')


def document(opennebula: OpenNebula, name: str = "by-hand", **members: Any) -> int:
    """The id of a runtime's document that is written by hand."""
    ours = {"PHASE": "READY", "SERVICE_NAME": name, "CREATED_AT": int(time.time())}
    ours |= members.pop("ENGINE", {})
    faas = {"FLAVOUR": FLAVOUR, "CPU": 1, "MEMORY": 128, "DISK_SIZE": 1025}
    faas |= members.pop("FAAS", {})
    body = json.dumps({"FAAS": faas, "ENGINE": ours, **members})
    return raw_document(opennebula, name, body)


def raw_document(opennebula: OpenNebula, name: str, body: str) -> int:
    template = f"<TEMPLATE><NAME>{name}</NAME><BODY><![CDATA[{body}]]></BODY></TEMPLATE>"
    return int(opennebula.call("document.allocate", template, RUNTIME))


def body_of(opennebula: OpenNebula, document_id: int) -> Json:
    return json.loads(opennebula.document(document_id).findtext("TEMPLATE/BODY") or "{}")


def waiting(device: Device, runtime_id: int, seconds: float) -> requests.Response:
    """A GET that waits, over a separate connection."""
    return requests.get(
        f"{device.url}{PATH}/{runtime_id}",
        params={"wait": seconds},
        auth=device.user.pair,
        timeout=120,
    )
