"""The steps of the demo, and its main program."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType

import click

from provision_engine import __version__
from provision_engine.client import Client, ClientError, Function, NotFound, Runtime, specification
from provision_engine.demo.programs import DemoError, Programs

RELEASES = ("7.4.0", "6.8.0")
INTERRUPTED = 130
STATE_SECONDS, POLL_SECONDS = 30.0, 0.05

WANTED = Function("nature", cpu=1, memory_mb=512, disk_size_mb=1024)
RESIZED = Function(cpu=2, memory_mb=1024, disk_size_mb=2048)
DEVICE_INFO: dict[str, str | int | float] = {
    "LATENCY_TO_PE": 0.36,
    "GEOGRAPHIC_LOCATION": "Madrid",
}


@click.command()
@click.option(
    "--release",
    type=click.Choice(RELEASES),
    default=RELEASES[0],
    show_default=True,
    help="Release of the simulated OpenNebula.",
)
@click.pass_context
def main(context: click.Context, release: str) -> None:
    """Show what a device does with a runtime, on a sandbox. Exit code 130 if interrupted."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    with tempfile.TemporaryDirectory(prefix="provision-engine-demo-") as directory:
        programs = Programs(Path(directory))
        try:
            show(programs, release)
        except (DemoError, ClientError, OSError) as error:
            print(f"FAILED: {error}", *programs.last_words(), sep="\n    ", file=sys.stderr)
            context.exit(1)
        except KeyboardInterrupt:
            print("FAILED: interrupted", file=sys.stderr)
            context.exit(INTERRUPTED)
        finally:
            programs.stop()
    say("Done: the runtime is gone, and both programs have ended.")


class Step:
    """A step in progress: its lines begin with the time since it began."""

    def __init__(self) -> None:
        self.result, self._began = "", time.monotonic()

    def line(self, text: str) -> None:
        spent_ms = (time.monotonic() - self._began) * 1000
        say(f"{spent_ms:6.0f} ms   {text}".rstrip())


@contextlib.contextmanager
def step(name: str) -> Iterator[Step]:
    """One step; its last line has its name and result."""
    one = Step()
    yield one
    one.line(f"{name:<20} {one.result}")


def say(text: str) -> None:
    print(text, flush=True)


def show(programs: Programs, release: str) -> None:
    """All steps. Raises DemoError or ClientError if one fails."""
    say(f"Provisioning Engine {__version__} on an OpenNebula {release} (a sandbox)\n")
    with step("start OpenNebula") as now:
        oned_url, oneflow_url = programs.start_cloud(release)
        now.result = f"oned {oned_url}, oneflow {oneflow_url}"
    with step("start the engine") as now:
        now.result = url = programs.start_engine(oned_url, oneflow_url)
    # Known to the sandbox only.
    with Client(url, "devuser", "devpass") as device:
        number = _create(device)
        _resize(device, number)
        _delete(device, number)
    for name, text in (("engine", "stop the engine"), ("OpenNebula", "stop OpenNebula")):
        with step(text) as done:
            done.result = f"exit code {programs.stop_program(name)}"


def _create(device: Client) -> int:
    body = specification(faas=WANTED, device_info=DEVICE_INFO)
    _request(f"POST /serverless-runtimes {json.dumps(body)}")
    with step("create a runtime") as now:
        runtime = device.create_runtime(WANTED, device_info=DEVICE_INFO)
        now.result = f"201: runtime {runtime.id}, VM {runtime.faas.vm_id}"
    _request(f"GET /serverless-runtimes/{runtime.id}")
    with step("wait until it runs") as now:
        runtime = _watch(device, runtime.id, now, lambda state: state == "RUNNING")
        if not runtime.faas.endpoint:
            raise DemoError("the function is running, but has no ENDPOINT")
        now.result = f"endpoint {runtime.faas.endpoint}"
    return runtime.id


def _resize(device: Client, number: int) -> None:
    _request(f"PUT /serverless-runtimes/{number} {json.dumps(specification(faas=RESIZED))}")
    with step("resize it") as now, ThreadPoolExecutor(1) as pool:
        update = pool.submit(device.update_runtime, number, faas=RESIZED)
        with Client(device.url, "devuser", "devpass") as watcher:
            _watch(watcher, number, now, lambda state: update.done() and state != "UPDATING")
        faas = update.result().faas
        if (faas.cpu, faas.memory_mb, faas.disk_size_mb) != (2, 1024, 2048):
            raise DemoError(f"the resize has led to {faas}")
        now.result = (
            f"200: {faas.cpu} cores, {faas.memory_mb} MB of memory, {faas.disk_size_mb} MB of disk"
        )


def _delete(device: Client, number: int) -> None:
    _request(f"DELETE /serverless-runtimes/{number}")
    with step("delete it") as now:
        device.delete_runtime(number)
        now.result = "204"
    with step("read it again") as now:
        try:
            device.get_runtime(number)
        except NotFound as error:
            now.result = f"404: {error.error}"
        else:
            raise DemoError("the deleted runtime is still there")


def _watch(device: Client, number: int, now: Step, is_enough: Callable[[str], bool]) -> Runtime:
    """Poll the runtime, show each change, and return the last state."""
    until, shown = time.monotonic() + STATE_SECONDS, ("", "")
    while True:
        runtime = device.get_runtime(number)
        state, reason = runtime.faas.state, runtime.faas.reason
        if (state, reason) != shown:
            now.line(f"  {state:<8} {reason}")
            shown = state, reason
        if is_enough(state):
            return runtime
        if state == "ERROR" or time.monotonic() > until:
            raise DemoError(f"the function is in {state}: {reason}")
        time.sleep(POLL_SECONDS)


def _request(text: str) -> None:
    say(f"{'':12}{text}")


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
