"""The rows of the table. Floor and engine take turns, so that a slow moment affects both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from benchmarks.device import Device
from benchmarks.figures import Figure, at_once, for_seconds, p50, p95, timed_ms, times_ms
from benchmarks.lab import Lab
from benchmarks.processes import engine, engines_behind_proxy
from tests.support.client import RUNTIMES, Json, states
from tests.support.waiting import wait_until

AT_ONCE = 8
READS = 60
PAGES = 10
KEYS = 10
LOOKUPS = 2
"""Of a key in each create: before and after its document is written."""
AMONG = (0, 1_000, 5_000)
LIMIT = 10


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
    template_id = lab.cloud.opennebula.flow_template_id(lab.flavour)
    services: list[int] = []
    runtimes: list[Json] = []
    times: dict[str, list[float]] = {"bare create": [], "create": [], "bare delete": []}
    times["delete"] = []
    for _ in range(lab.count):
        spent_ms, service_id = timed_ms(lambda: client.create(template_id, lab.new_name()))
        services.append(service_id)
        times["bare create"].append(spent_ms)
        spent_ms, made = timed_ms(lambda: device.create(**lab.members))
        runtimes.append(made)
        times["create"].append(spent_ms)
    for service_id in [*services, *(made["SERVICE_ID"] for made in runtimes)]:
        lab.cloud.opennebula.until_service_runs(service_id)
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
    template_id = lab.cloud.opennebula.flow_template_id(lab.flavour)

    def work(_: int) -> None:
        with closing(lab.bare()) as client:
            client.read_flow_templates()
            client.create(template_id, lab.new_name())

    at_once(work, AT_ONCE)


def _creates(lab: Lab) -> None:
    def work(_: int) -> None:
        with closing(lab.device()) as device:
            device.create(**lab.members)

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
    device, paths = lab.device(), list[str]()
    for order in ("desc", "asc"):
        paths.append(f"{RUNTIMES}?limit={LIMIT}&order={order}")
        for before in (number // 2, number - LIMIT) if number else ():
            path = f"{RUNTIMES}?limit={before}&order={order}"
            link = device.request("GET", path).next_page
            paths.append(link.replace(f"limit={before}", f"limit={LIMIT}"))
    spent_ms = [p50(times_ms(lambda p=path: device.request("GET", p), PAGES)) for path in paths]
    device.close()
    what = f"page of {LIMIT} among {number:,} runtimes, slowest of {len(paths)} queries, p50"
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

            def rejected_ms(key: str, device: Device = device) -> float:
                """The time of a create that is rejected, since no flavour has this name."""
                headers = {"Idempotency-Key": key} if key else {}
                faas = {"FLAVOUR": "no-such-flavour"}
                return timed_ms(lambda: device.post(headers=headers, NAME=lab.name, FAAS=faas))[0]

            first_ms = rejected_ms(lab.new_name())
            without_ms, with_ms = [], []
            for _ in range(lab.rounds * KEYS):
                without_ms.append(rejected_ms(""))
                with_ms.append(rejected_ms(lab.new_name()))
            device.close()
            more_ms = LOOKUPS * (p50(with_ms) - p50(without_ms))
            among = f"among {number:,} runtimes"
            figures.append(Figure(f"a key adds to a create, {among}", "ms", more_ms, most_alone=10))
            figures.append(Figure(f"first lookup of a key, {among}", "ms", first_ms))
        return figures


def standby(lab: Lab) -> list[Figure]:
    """From the POST until a GET returns RUNNING, cold and with a standby."""
    cold_ms = _until_running(lab, lab.device(), lab.count, lambda: None)
    with _keeping_standbys(lab, 1) as (device, wait):
        warm_ms = _until_running(lab, device, 2 * lab.count, wait)
    with _keeping_standbys(lab, 2) as (device, wait):
        wait()
        spent_ms, made = timed_ms(lambda: [device.create(**lab.members) for _ in range(AT_ONCE)])
        for runtime in made:
            lab.delete(runtime["ID"])
    served_warm = sum(bool(runtime["FAAS"].get("ENDPOINT")) for runtime in made)
    return [
        Figure("POST until RUNNING, cold, p50", "ms", p50(cold_ms)),
        Figure("POST until RUNNING, with a standby, p50", "ms", p50(warm_ms), most_alone=300),
        Figure(f"{AT_ONCE} devices in a row, 2 standbys: served warm", "", served_warm),
        Figure(f"{AT_ONCE} devices in a row, 2 standbys: all created", "ms", spent_ms),
    ]


@contextmanager
def _keeping_standbys(lab: Lab, count: int) -> Iterator[tuple[Device, Callable[[], None]]]:
    """A client of an engine that keeps so many standbys, and a wait until all of them run."""
    settings = {"flavours": {lab.flavour: count}, "seconds": 900}
    with engine(lab.cloud, lab.directory / f"standby{count}", standby=settings) as served:
        device = lab.device(served.url)
        before = {found["ID"] for found in device.list(standby="true")}

        def own() -> list[Json]:
            return [s for s in device.list(standby="true") if s["ID"] not in before]

        def are_ready() -> bool:
            found = [states(s) for s in own() if s.get("PHASE") == "STANDBY"]
            return found == [{"RUNNING"}] * count

        try:
            lab.delete(device.create(**lab.members)["ID"])  # which orders the standbys
            yield device, lambda: wait_until(are_ready, interval_seconds=0.1)
        finally:
            for found in own():
                lab.delete(found["ID"])


def _until_running(
    lab: Lab, device: Device, count: int, prepare: Callable[[], None]
) -> list[float]:
    def create() -> Json:
        return device.create_running(**lab.members)

    spent_ms = []
    for _ in range(count):
        prepare()
        spent, made = timed_ms(create)
        spent_ms.append(spent)
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
                    lambda p=port: lab.device(f"http://127.0.0.1:{p}"),
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
