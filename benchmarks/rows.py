"""The rows of the table. Floor and engine take turns, so that a slow moment affects both."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.device import Device, Runtime
from benchmarks.figures import Figure, at_once, for_seconds, p50, p95, timed_ms, times_ms
from benchmarks.lab import RUNNING_SECONDS, Lab
from benchmarks.processes import engine, engines_behind_proxy

AT_ONCE = 8
READS = 60
PAGES = 10
KEYS = 10
LOOKUPS = 2
"""Of a key in each create: before and after its document is written."""
AMONG = (0, 1_000, 5_000)
LIMIT = 10
FASTER_SECONDS = 0.02


def read(lab: Lab) -> list[Figure]:
    """A read from one client, and the CPU that the engine needs for it."""
    floor_ms: list[float] = []
    engine_ms: list[float] = []
    cpu_seconds = 0.0
    with lab.runtime() as (device, made):
        client, vm_id = lab.bare(), made["FAAS"]["VM_ID"]
        for _ in range(lab.rounds):
            floor_ms += times_ms(lambda: client.read(made["ID"], vm_id), READS)
            before = lab.engine.cpu_seconds()
            engine_ms += times_ms(lambda: device.read(made["ID"]), READS)
            cpu_seconds += lab.engine.cpu_seconds() - before
        client.close()
    cpu_ms = cpu_seconds / len(engine_ms) * 1000
    return [
        Figure("read, one client, p50", "ms", p50(engine_ms), p50(floor_ms), most=1.2),
        Figure("engine CPU for a read", "ms", cpu_ms),
    ]


def throughput(lab: Lab) -> list[Figure]:
    """Reads per second from eight clients at once."""
    floor: list[float] = []
    ours: list[float] = []
    with lab.runtime() as (_, made):
        vm_id = made["FAAS"]["VM_ID"]
        for _ in range(lab.rounds):
            done = for_seconds(
                AT_ONCE, lab.seconds, lab.bare, lambda client: client.read(made["ID"], vm_id)
            )
            floor.append(len(done) / lab.seconds)
            done = for_seconds(
                AT_ONCE, lab.seconds, lab.device, lambda device: device.read(made["ID"])
            )
            ours.append(len(done) / lab.seconds)
    what = f"reads a second, {AT_ONCE} clients"
    return [Figure(what, "/s", p50(ours), p50(floor), most=0.9, is_rate=True)]


def create(lab: Lab) -> list[Figure]:
    """Creates one after the other, and deletes of running runtimes."""
    device, client = lab.device(), lab.bare()
    flow_template = client.flow_template(lab.cloud.flavour)
    services: list[int] = []
    runtimes: list[Runtime] = []
    times: dict[str, list[float]] = {"bare create": [], "create": [], "bare delete": []}
    times["delete"] = []
    for _ in range(lab.count):
        spent_ms, (service_id, _) = timed_ms(
            lambda: client.create(flow_template, lab.new_name(), {})
        )
        services.append(service_id)
        times["bare create"].append(spent_ms)
        spent_ms, made = timed_ms(lambda: device.create(lab.cloud.flavour))
        runtimes.append(made)
        times["create"].append(spent_ms)
    for service_id in [*services, *(made["SERVICE_ID"] for made in runtimes)]:
        lab.wait_for_service(client, service_id)
    device, client = lab.device(), lab.bare()
    for service_id, made in zip(services, runtimes, strict=True):
        times["bare delete"].append(timed_ms(lambda n=service_id: client.delete(n))[0])
        times["delete"].append(timed_ms(lambda n=made["ID"]: device.delete(n))[0])
    client.close()
    device.close()
    middle = {what: p50(spent) for what, spent in times.items()}
    return [
        Figure("create, p50", "ms", middle["create"], middle["bare create"], most=1.02),
        Figure("delete, p50", "ms", middle["delete"], middle["bare delete"], most=1.3),
    ]


def creates_at_once(lab: Lab) -> list[Figure]:
    """Eight creates at the same time, until all have returned."""
    times: dict[str, list[float]] = {"floor": [], "engine": []}
    for _ in range(max(1, lab.rounds // 2)):
        times["floor"].append(timed_ms(lambda: _bare_creates(lab))[0])
        lab.sweep()
        times["engine"].append(timed_ms(lambda: _creates(lab))[0])
        lab.sweep()
    what = f"{AT_ONCE} creates at once, all done"
    return [Figure(what, "ms", p50(times["engine"]), p50(times["floor"]), most=1.0)]


def _bare_creates(lab: Lab) -> None:
    def work(_: int) -> None:
        client = lab.bare()
        client.create(client.flow_template(lab.cloud.flavour), lab.new_name(), {})
        client.close()

    at_once(work, AT_ONCE)


def _creates(lab: Lab) -> None:
    def work(_: int) -> None:
        device = lab.device()
        device.create(lab.cloud.flavour)
        device.close()

    at_once(work, AT_ONCE)


def page(lab: Lab) -> list[Figure]:
    """Pages of ten at the beginning, in the middle and at the end of the user's runtimes."""
    with lab.runtime() as (_, sample):
        figures = []
        for number in AMONG:
            lab.write_documents(number, sample)
            figures.append(_page(lab, number))
        return figures


def _page(lab: Lab, number: int) -> Figure:
    device, queries = lab.device(), []
    for order in ("desc", "asc"):
        queries.append(f"limit={LIMIT}&order={order}")
        for before in (number // 2, number - LIMIT) if number else ():
            link = device.list_following(f"limit={before}&order={order}")
            queries.append(link.replace(f"limit={before}", f"limit={LIMIT}"))
    spent_ms = [p50(times_ms(lambda q=query: device.list(q), PAGES)) for query in queries]
    device.close()
    what = f"page of {LIMIT} among {number:,} runtimes, slowest of {len(queries)} queries, p50"
    return Figure(what, "ms", max(spent_ms), most_alone=15)


def key(lab: Lab) -> list[Figure]:
    """What a key adds to a create, at growing numbers of runtimes: its two lookups.

    Creates take too long to show the few milliseconds of a lookup, so rejected ones are measured,
    which look a key up once.
    """
    with lab.runtime() as (_, sample):
        figures = []
        for number in AMONG:
            lab.write_documents(number, sample)
            device = lab.device()
            first_ms = timed_ms(lambda d=device: d.create_nothing(lab.new_name()))[0]
            without_ms, with_ms = [], []
            for _ in range(lab.rounds * KEYS):
                without_ms.append(timed_ms(lambda d=device: d.create_nothing(""))[0])
                with_ms.append(timed_ms(lambda d=device: d.create_nothing(lab.new_name()))[0])
            device.close()
            more_ms = LOOKUPS * (p50(with_ms) - p50(without_ms))
            among = f"among {number:,} runtimes"
            figures.append(Figure(f"a key adds to a create, {among}", "ms", more_ms, most_alone=10))
            figures.append(Figure(f"first lookup of a key, {among}", "ms", first_ms))
        return figures


def standby(lab: Lab) -> list[Figure]:
    """From the POST until a GET returns RUNNING, cold and with a standby."""
    cold_ms = _until_running(lab, lab.device(), lab.count, lambda device: None)
    with _keeping_standbys(lab, 1) as (device, is_ready):
        warm_ms = _until_running(lab, device, 2 * lab.count, lambda _: is_ready())
    with _keeping_standbys(lab, 2) as (device, is_ready):
        is_ready()
        began = time.perf_counter()
        made = [device.create(lab.cloud.flavour) for _ in range(AT_ONCE)]
        seconds = time.perf_counter() - began
        for runtime in made:
            lab.delete(runtime["ID"])
    served_warm = sum(bool(runtime["FAAS"].get("ENDPOINT")) for runtime in made)
    return [
        Figure("POST until RUNNING, cold, p50", "ms", p50(cold_ms)),
        Figure("POST until RUNNING, with a standby, p50", "ms", p50(warm_ms), most_alone=300),
        Figure(f"{AT_ONCE} devices in a row, 2 standbys: served warm", "", served_warm),
        Figure(f"{AT_ONCE} devices in a row, 2 standbys: all created", "ms", seconds * 1000),
    ]


@contextmanager
def _keeping_standbys(lab: Lab, count: int) -> Iterator[tuple[Device, Callable[[], None]]]:
    """A client of an engine that keeps so many standbys, and a wait until all of them run."""
    settings = {"flavours": {lab.cloud.flavour: count}, "seconds": 900}
    with engine(lab.cloud, lab.directory / f"standby{count}", standby=settings) as served:
        device = lab.device(served.port)
        before = {found["ID"] for found in device.list("standby=true")}

        def wait() -> None:
            end = time.monotonic() + RUNNING_SECONDS
            while time.monotonic() < end:
                found = [s for s in device.list("standby=true") if s.get("PHASE") == "STANDBY"]
                states = [s["FAAS"]["STATE"] for s in found if s["ID"] not in before]
                if states == ["RUNNING"] * count:
                    return
                time.sleep(0.1)
            raise RuntimeError("the standbys did not become ready")

        try:
            lab.delete(device.create(lab.cloud.flavour)["ID"])  # which orders the standbys
            yield device, wait
        finally:
            for found in lab.device(served.port).list("standby=true"):
                if found["ID"] not in before:
                    lab.delete(found["ID"])


def _until_running(
    lab: Lab, device: Device, count: int, prepare: Callable[[Device], Any]
) -> list[float]:
    spent_ms = []
    for _ in range(count):
        prepare(device)
        began = time.perf_counter()
        made = device.create(lab.cloud.flavour)
        device.wait_until_running(made["ID"], RUNNING_SECONDS, FASTER_SECONDS)
        spent_ms.append((time.perf_counter() - began) * 1000)
        lab.delete(made["ID"])
    return spent_ms


def engines(lab: Lab) -> list[Figure]:
    """Reads through the shipped haproxy configuration, with one, two and three engines."""
    figures = []
    with lab.runtime() as (_, made):
        for count in (1, 2, 3):
            place = lab.directory / f"engines{count}"
            place.mkdir()
            with engines_behind_proxy(lab.cloud, place, count) as port:
                spent_ms = for_seconds(
                    AT_ONCE,
                    lab.seconds * lab.rounds,
                    lambda p=port: lab.device(p),
                    lambda device: device.read(made["ID"]),
                )
            what = f"{count} engine{'s' * (count > 1)} behind haproxy, {AT_ONCE} clients"
            rate = len(spent_ms) / (lab.seconds * lab.rounds)
            figures.append(Figure(f"{what}: reads a second", "/s", rate))
            figures.append(Figure(f"{what}: p95", "ms", p95(spent_ms)))
    return figures


ROWS: dict[str, Callable[[Lab], list[Figure]]] = {
    "read": read,
    "throughput": throughput,
    "create": create,
    "creates": creates_at_once,
    "page": page,
    "key": key,
    "standby": standby,
    "engines": engines,
}
