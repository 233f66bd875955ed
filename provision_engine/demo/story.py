"""The steps of the demo, and its main program."""

from __future__ import annotations

import argparse
import signal
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from provision_engine import __version__
from provision_engine.demo.device import Device, Json
from provision_engine.demo.errors import DemoError
from provision_engine.demo.programs import Programs
from provision_engine.demo.screen import Screen

RELEASES = ("7.4.0", "6.8.0")
INTERRUPTED = 130

WANTED: Json = {
    "SERVERLESS_RUNTIME": {
        "FAAS": {"FLAVOUR": "nature", "CPU": 1, "MEMORY": 512, "DISK_SIZE": 1024},
        "DEVICE_INFO": {"LATENCY_TO_PE": 0.36, "GEOGRAPHIC_LOCATION": "Madrid"},
    }
}
RESIZED: Json = {"SERVERLESS_RUNTIME": {"FAAS": {"CPU": 2, "MEMORY": 1024, "DISK_SIZE": 2048}}}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo. Returns 0, 1 if something failed, 130 if interrupted."""
    options = _parser().parse_args(argv)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    screen = Screen()
    with tempfile.TemporaryDirectory(prefix="provision-engine-demo-") as directory:
        programs = Programs(Path(directory))
        try:
            show(programs, options.release, screen)
        except (DemoError, OSError) as error:
            screen.fail(str(error), programs.last_words())
            return 1
        except KeyboardInterrupt:
            screen.fail("interrupted", [])
            return INTERRUPTED
        finally:
            programs.stop()
    screen.say("Done: the runtime is gone, and both programs have ended.")
    return 0


def show(programs: Programs, release: str, screen: Screen) -> None:
    """All steps. Raises DemoError if one fails."""
    screen.title(f"Provisioning Engine {__version__} on an OpenNebula {release} (a sandbox)")
    with screen.step("start OpenNebula") as step:
        cloud = programs.start_cloud(release)
        step.result = f"oned {cloud.oned_url}, oneflow {cloud.oneflow_url}"
    with screen.step("start the engine") as step:
        port = programs.start_engine(cloud)
        step.result = f"http://127.0.0.1:{port}"
    device = Device(port, screen)
    path = _create(device, screen)
    _resize(device, path, screen)
    _delete(device, path, screen)
    for name in ("engine", "OpenNebula"):
        with screen.step(f"stop {'the ' if name == 'engine' else ''}{name}") as step:
            step.result = f"exit code {programs.stop_program(name)}"


def _create(device: Device, screen: Screen) -> str:
    screen.request("POST /serverless-runtimes", WANTED)
    with screen.step("create a runtime") as step:
        runtime = device.call("POST", "/serverless-runtimes", WANTED, expected=201)
        step.result = f"201: runtime {runtime['ID']}, VM {runtime['FAAS']['VM_ID']}"
    path = f"/serverless-runtimes/{runtime['ID']}"
    screen.request(f"GET {path}")
    with screen.step("wait until it runs") as step:
        runtime = device.watch(path, lambda state: state == "RUNNING")
        step.result = f"endpoint {_endpoint(runtime)}"
    return path


def _resize(device: Device, path: str, screen: Screen) -> None:
    screen.request(f"PUT {path}", RESIZED)
    with screen.step("resize it") as step:
        with device.watched(path):
            runtime = device.call("PUT", path, RESIZED, expected=200)
        function = runtime["FAAS"]
        for name, size in RESIZED["SERVERLESS_RUNTIME"]["FAAS"].items():
            if function[name] != size:
                raise DemoError(f"{name} is {function[name]} after the resize, not {size}")
        cores, memory, disk = (function[name] for name in ("CPU", "MEMORY", "DISK_SIZE"))
        step.result = f"200: {cores} cores, {memory} MB of memory, {disk} MB of disk"


def _delete(device: Device, path: str, screen: Screen) -> None:
    screen.request(f"DELETE {path}")
    with screen.step("delete it") as step:
        device.call("DELETE", path, expected=204)
        step.result = "204"
    with screen.step("read it again") as step:
        response = device.call("GET", path, expected=404)
        step.result = f"404: {response['error']}"


def _endpoint(runtime: Json) -> str:
    endpoint = runtime["FAAS"]["ENDPOINT"]
    if not endpoint:
        raise DemoError("the function is running, but has no ENDPOINT")
    return str(endpoint)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "demo", description="Shows what a device does with a runtime, on a sandbox."
    )
    parser.add_argument(
        "--release",
        choices=RELEASES,
        default=RELEASES[0],
        help="release of the simulated OpenNebula",
    )
    return parser


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
