"""One function a figure. Floor and engine take turns, so that a slow moment hits both."""

from __future__ import annotations

import base64
import http.client
import json
import re
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.bare import BareClient
from benchmarks.processes import Cloud, Engine, engine, sandbox

ROUNDS = 4
RUNNING_SECONDS = 60.0


@dataclass(frozen=True)
class Figure:
    """One row of the table: what was measured, against what, and what it shall be."""

    what: str
    floor: str
    engine: str
    ratio: float | None
    target: str
    is_met: bool


class Device:
    """A client of the engine over one kept-alive connection."""

    def __init__(self, cloud: Cloud, port: int) -> None:
        token = base64.b64encode(f"{cloud.user}:{cloud.password}".encode()).decode()
        self._headers = {"Authorization": f"Basic {token}"}
        self._connection = http.client.HTTPConnection("127.0.0.1", port)

    def ask(self, method: str, path: str, body: Any = None, expect: int = 200) -> Any:
        text = None if body is None else json.dumps(body)
        self._connection.request(method, f"/serverless-runtimes{path}", text, self._headers)
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status != expect:
            raise RuntimeError(f"{method} {path}: {answer.status} {content[:300]!r}")
        return json.loads(content) if content else None

    def create(self, flavour: str) -> dict[str, Any]:
        body = {"SERVERLESS_RUNTIME": {"FAAS": {"FLAVOUR": flavour}}}
        runtime: dict[str, Any] = self.ask("POST", "", body, 201)["SERVERLESS_RUNTIME"]
        return runtime

    def read(self, runtime_id: int) -> dict[str, Any]:
        runtime: dict[str, Any] = self.ask("GET", f"/{runtime_id}")["SERVERLESS_RUNTIME"]
        return runtime

    def delete(self, runtime_id: int) -> None:
        self.ask("DELETE", f"/{runtime_id}", expect=204)

    def close(self) -> None:
        self._connection.close()


@contextmanager
def runtime(cloud: Cloud, served: Engine) -> Iterator[tuple[Device, dict[str, Any]]]:
    """A runtime that runs, and is gone afterwards."""
    device = Device(cloud, served.port)
    made = device.create(cloud.flavour)
    end = time.monotonic() + RUNNING_SECONDS
    while device.read(made["ID"])["FAAS"]["STATE"] != "RUNNING" and time.monotonic() < end:
        time.sleep(0.1)
    try:
        yield device, made
    finally:
        device.delete(made["ID"])
        device.close()


def bare(cloud: Cloud) -> BareClient:
    return BareClient(cloud.oned_url, cloud.oneflow_url, cloud.user, cloud.password)


def reads(cloud: Cloud, served: Engine, count: int) -> list[Figure]:
    """Latency of a read from one client, and the CPU that the engine needs for it."""
    with runtime(cloud, served) as (device, made):
        client = bare(cloud)
        floor_ms: list[float] = []
        ours_ms: list[float] = []
        cpu_seconds = 0.0
        for _ in range(ROUNDS):
            floor_ms += _times_ms(lambda: client.read(made["ID"], made["FAAS"]["VM_ID"]), count)
            before = served.cpu_seconds()
            ours_ms += _times_ms(lambda: device.read(made["ID"]), count)
            cpu_seconds += served.cpu_seconds() - before
        client.close()
    cpu_ms = cpu_seconds / (ROUNDS * count) * 1000
    return [
        _ratio("read, one client, p50", floor_ms, ours_ms, 1.8),
        Figure("engine CPU for a read", "", f"{cpu_ms:.2f} ms", None, "≤ 2.5 ms", cpu_ms <= 2.5),
    ]


def throughput(cloud: Cloud, served: Engine, clients: int, seconds: float) -> Figure:
    """Reads a second from so many clients at once."""
    with runtime(cloud, served) as (_, made):
        floor: list[float] = []
        ours: list[float] = []
        for _ in range(ROUNDS):
            floor.append(
                _rate(
                    clients,
                    seconds,
                    lambda: bare(cloud),
                    lambda client: client.read(made["ID"], made["FAAS"]["VM_ID"]),
                )
            )
            ours.append(
                _rate(
                    clients,
                    seconds,
                    lambda: Device(cloud, served.port),
                    lambda client: client.read(made["ID"]),
                )
            )
    share = statistics.median(ours) / statistics.median(floor)
    return Figure(
        f"reads a second, {clients} clients",
        f"{statistics.median(floor):.0f}",
        f"{statistics.median(ours):.0f}",
        share,
        "≥ 0.60",
        share >= 0.6,
    )


def creates(cloud: Cloud, served: Engine, count: int) -> tuple[Figure, float]:
    """Latency of a create; and the engine's median in ms."""
    device, client = Device(cloud, served.port), bare(cloud)
    template = _flow_template(client, cloud.flavour)
    floor_ms, ours_ms = [], []
    for number in range(count):
        began = time.perf_counter()
        service_id, _ = client.create(template, f"bare-{number}-{time.time_ns()}", {})
        floor_ms.append((time.perf_counter() - began) * 1000)
        client.delete(service_id)
        began = time.perf_counter()
        made = device.create(cloud.flavour)
        ours_ms.append((time.perf_counter() - began) * 1000)
        device.delete(made["ID"])
    client.close()
    device.close()
    return _ratio("create, p50", floor_ms, ours_ms, 1.1), statistics.median(ours_ms)


def create_among(release: str, profile: str, directory: Path, count: int) -> Figure:
    """A create with 1,000 flow templates visible against the same with 10."""
    medians = []
    for templates in (10, 1000):
        place = directory / f"templates-{templates}"
        place.mkdir()
        with sandbox(release, profile, templates) as cloud, engine(cloud, place) as served:
            medians.append(creates(cloud, served, count)[1])
    return Figure(
        "create among 1,000 flow templates",
        f"{medians[0]:.1f} ms with 10",
        f"{medians[1]:.1f} ms",
        medians[1] / medians[0],
        "≤ 1.15",
        medians[1] <= 1.15 * medians[0],
    )


def listing(release: str, profile: str, directory: Path, runtimes: int) -> Figure:
    """A list of many runtimes with fresh states, which go with their sandbox."""
    with sandbox(release, profile) as cloud, engine(cloud, directory) as served:
        _at_once(16, runtimes, lambda: Device(cloud, served.port), cloud.flavour)
        device = Device(cloud, served.port)
        device.ask("GET", "")
        cloud.ask("clear")
        times_ms = _times_ms(lambda: device.ask("GET", ""), 9)
        calls = len(cloud.ask("calls")) // 10
        seen = len(device.ask("GET", ""))
        device.close()
    median_ms = statistics.median(times_ms)
    return Figure(
        f"list of {seen} runtimes",
        "",
        f"{calls} calls, {median_ms:.0f} ms",
        None,
        "≤ 4 calls, ≤ 400 ms",
        calls <= 4 and median_ms <= 400 and seen >= runtimes,
    )


def reads_beside_creates(cloud: Cloud, served: Engine, creating: int, count: int) -> Figure:
    """Reads while creates wait for a slow oneflow."""
    with runtime(cloud, served) as (device, made):
        idle_ms = _times_ms(lambda: device.read(made["ID"]), count)
        cloud.ask("slow", "oneflow", 5.0)
        waiting = [
            threading.Thread(target=_create_and_forget, args=(cloud, served))
            for _ in range(creating)
        ]
        for thread in waiting:
            thread.start()
        time.sleep(0.5)
        busy_ms = _times_ms(lambda: device.read(made["ID"]), count)
        cloud.ask("mend")
        for thread in waiting:
            thread.join()
    idle, busy = _p95(idle_ms), _p95(busy_ms)
    return Figure(
        f"reads beside {creating} waiting creates, p95",
        f"{idle:.2f} ms idle",
        f"{busy:.2f} ms",
        busy / idle,
        "≤ 3.0",
        busy <= 3 * idle,
    )


def counts(cloud: Cloud, served: Engine) -> list[Figure]:
    """How many calls of each backend a create, a read and a delete make."""
    figures = []
    with runtime(cloud, served) as (device, made):  # what is remembered is remembered now
        cloud.ask("clear")
        second = device.create(cloud.flavour)["ID"]
        figures.append(_counted(cloud, "create", oneflow=1))
        device.delete(second)
        cloud.ask("clear")
        device.read(made["ID"])
        figures.append(_counted(cloud, "read", oneflow=0, oned=2))
        cloud.ask("clear")
    figures.append(_counted(cloud, "delete", oneflow=1))
    return figures


def _counted(cloud: Cloud, what: str, oneflow: int, oned: int | None = None) -> Figure:
    calls = Counter(backend for backend, _ in cloud.ask("calls"))
    target = f"{oneflow} oneflow" if oned is None else f"{oned} oned, {oneflow} oneflow"
    told = f"{calls['oned']} oned, {calls['oneflow']} oneflow"
    is_met = calls["oneflow"] == oneflow and oned in (None, calls["oned"])
    return Figure(f"backend calls of a {what}", "", told, None, target, is_met)


def connections(release: str, profile: str, directory: Path, requests: int) -> Figure:
    """TCP connections to each backend that a new engine opens for so many requests."""
    with (
        sandbox(release, profile) as cloud,
        engine(cloud, directory) as served,
        runtime(cloud, served) as (_, made),
    ):
        _rate_counted(8, requests, lambda: Device(cloud, served.port), made["ID"])
        opened = cloud.ask("connections")
        threads = served.threads()
    return Figure(
        f"connections for {requests} requests",
        "",
        f"{opened['oned']} oned, {opened['oneflow']} oneflow",
        None,
        f"≤ {threads} (threads)",
        max(opened.values()) <= threads,
    )


def start_and_memory(cloud: Cloud, served: Engine, requests: int) -> list[Figure]:
    """Time until the first answer; memory after many requests, and how much it grew."""
    with runtime(cloud, served) as (_, made):
        _rate_counted(8, requests // 2, lambda: Device(cloud, served.port), made["ID"])
        half_mb = served.memory_mb()
        _rate_counted(8, requests // 2, lambda: Device(cloud, served.port), made["ID"])
        whole_mb = served.memory_mb()
    return [
        Figure(
            "start until the first answer",
            "",
            f"{served.start_seconds:.2f} s",
            None,
            "≤ 1.5 s",
            served.start_seconds <= 1.5,
        ),
        Figure(
            f"memory after {requests} requests",
            f"{half_mb:.0f} MB after half",
            f"{whole_mb:.0f} MB",
            whole_mb / half_mb,
            "≤ 250 MB, flat",
            whole_mb <= 250 and whole_mb <= 1.1 * half_mb,
        ),
    ]


# ---- means -----------------------------------------------------------------------------


def _times_ms(action: Callable[[], Any], count: int) -> list[float]:
    action()
    times_ms = []
    for _ in range(count):
        began = time.perf_counter()
        action()
        times_ms.append((time.perf_counter() - began) * 1000)
    return times_ms


def _ratio(what: str, floor_ms: list[float], ours_ms: list[float], most: float) -> Figure:
    floor, ours = statistics.median(floor_ms), statistics.median(ours_ms)
    return Figure(
        what,
        f"{floor:.2f} ms",
        f"{ours:.2f} ms",
        ours / floor,
        f"≤ {most:.2f}",
        ours <= most * floor,
    )


def _p95(times_ms: list[float]) -> float:
    return statistics.quantiles(times_ms, n=20)[18]


def _rate(
    clients: int, seconds: float, connect: Callable[[], Any], action: Callable[[Any], Any]
) -> float:
    done = [0] * clients
    end = time.perf_counter() + seconds

    def work(number: int) -> None:
        client = connect()
        while time.perf_counter() < end:
            action(client)
            done[number] += 1
        client.close()

    _run(work, clients)
    return sum(done) / seconds


def _rate_counted(
    clients: int, requests: int, connect: Callable[[], Device], runtime_id: int
) -> None:
    def work(_: int) -> None:
        client = connect()
        for _ in range(requests // clients):
            client.read(runtime_id)
        client.close()

    _run(work, clients)


def _at_once(clients: int, count: int, connect: Callable[[], Device], flavour: str) -> None:
    def work(number: int) -> None:
        client = connect()
        for _ in range(number, count, clients):
            client.create(flavour)
        client.close()

    _run(work, clients)


def _create_and_forget(cloud: Cloud, served: Engine) -> None:
    device = Device(cloud, served.port)
    try:
        device.delete(device.create(cloud.flavour)["ID"])
    except RuntimeError as refused:
        if "429" not in str(refused):
            raise
    finally:
        device.close()


def _run(work: Callable[[int], None], clients: int) -> None:
    threads = [threading.Thread(target=work, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _flow_template(client: BareClient, name: str) -> int:
    pool = client.call("one.documentpool.info", -2, -1, -1, 101)
    found = re.search(
        r"&lt;DOCUMENT&gt;&lt;ID&gt;(\d+)(?:(?!&lt;/DOCUMENT&gt;).)*?"
        rf"&lt;NAME&gt;{re.escape(name)}&lt;",
        pool,
        re.S,
    )
    if not found:
        raise RuntimeError(f"the user sees no flow template {name}")
    return int(found[1])
