"""Print what the engine adds to the floor: ``python -m benchmarks [--json]``.

Without variables the sandbox is measured, without delays and with those of a real OpenNebula;
with the variables of the contract tests (tests/contract/README.md) a real one.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import sys
import tempfile
from pathlib import Path

from benchmarks import measure
from benchmarks.measure import Figure
from benchmarks.processes import Cloud, engine, real_cloud, sandbox


def main() -> int:
    options = _options()
    cloud = real_cloud()
    results: dict[str, list[Figure]] = {}
    with tempfile.TemporaryDirectory() as place:
        if cloud is not None:
            results[cloud.name] = _measure(cloud, options, Path(place))
        for profile in [] if cloud else options.profile:
            directory = Path(place) / profile
            directory.mkdir()
            with sandbox(options.release, profile) as box:
                results[box.name] = _measure(box, options, directory)
            apart = directory / "apart"
            apart.mkdir()
            opened = measure.connections(options.release, profile, apart, 1000)
            results[box.name].append(opened)
            if not options.quick:
                crowded = directory / "many"
                crowded.mkdir()
                many = measure.listing(options.release, profile, crowded, options.runtimes)
                among = measure.create_among(options.release, profile, directory, options.creates)
                results[box.name] += [many, among]
    _print(results, options.json)
    return 0


def _measure(cloud: Cloud, options: argparse.Namespace, directory: Path) -> list[Figure]:
    is_sandbox = cloud.control is not None
    with engine(cloud, directory) as served:
        figures = measure.reads(cloud, served, max(1, options.reads // measure.ROUNDS))
        figures += [measure.throughput(cloud, served, n, options.seconds) for n in (8, 32)]
        figures.append(measure.creates(cloud, served, options.creates)[0])
        if is_sandbox:
            figures += measure.counts(cloud, served)
            figures.append(measure.reads_beside_creates(cloud, served, 64, options.reads))
        figures += measure.start_and_memory(cloud, served, options.requests)
    return figures


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--json", action="store_true", help="for machines")
    parser.add_argument("--quick", action="store_true", help="without the figures that take long")
    parser.add_argument("--release", default="6.8.0", help="of the sandbox")
    parser.add_argument(
        "--profile",
        nargs="+",
        default=["none", "measured"],
        choices=("none", "measured"),
        help="delays of the sandbox",
    )
    parser.add_argument("--reads", type=int, default=400, help="at least 200")
    parser.add_argument("--creates", type=int, default=20, help="at least 20")
    parser.add_argument("--requests", type=int, default=10_000, help="before memory is looked at")
    parser.add_argument("--runtimes", type=int, default=1000, help="in the list")
    parser.add_argument("--seconds", type=float, default=3.0, help="of load, a round")
    return parser.parse_args()


def _print(results: dict[str, list[Figure]], as_json: bool) -> None:
    if as_json:
        told = {name: [dataclasses.asdict(f) for f in found] for name, found in results.items()}
        json.dump({"machine": _machine(), "results": told}, sys.stdout, indent=1)
        return
    print(f"Machine: {_machine()}")
    for name, figures in results.items():
        print(f"\n{name}\n")
        print("| what | floor | engine | ratio | target | met |")
        print("| --- " * 6 + "|")
        for f in figures:
            ratio = "" if f.ratio is None else f"{f.ratio:.2f}"
            met = "yes" if f.is_met else "**no**"
            print(f"| {f.what} | {f.floor} | {f.engine} | {ratio} | {f.target} | {met} |")


def _machine() -> str:
    cores = len(Path("/proc/cpuinfo").read_text().split("processor\t")) - 1
    return f"{platform.machine()}, {cores} cores, Python {platform.python_version()}"


if __name__ == "__main__":
    sys.exit(main())
