"""The steps of the demo, and its main program."""

from __future__ import annotations

import json
import signal
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType

import click

from provision_engine import __version__
from provision_engine.client import Client, ClientError, Function, NotFound, Runtime, specification
from provision_engine.demo import screen
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
            screen.fail(str(error), programs.last_words())
            context.exit(1)
        except KeyboardInterrupt:
            screen.fail("interrupted", [])
            context.exit(INTERRUPTED)
        finally:
            programs.stop()
    screen.say("Done: the runtime is gone, and both programs have ended.")


def show(programs: Programs, release: str) -> None:
    """All steps. Raises DemoError or ClientError if one fails."""
    title = f"Provisioning Engine {__version__} on an OpenNebula {release} (a sandbox)"
    screen.say(f"{screen.painted(title, bold=True)}\n")
    with screen.step("start OpenNebula") as step:
        oned_url, oneflow_url = programs.start_cloud(release)
        step.result = f"oned {oned_url}, oneflow {oneflow_url}"
    with screen.step("start the engine") as step:
        step.result = url = programs.start_engine(oned_url, oneflow_url)
    # Known to the sandbox only.
    with Client(url, "devuser", "devpass") as device:
        number = _create(device)
        _resize(device, number)
        _delete(device, number)
    for name, text in (("engine", "stop the engine"), ("OpenNebula", "stop OpenNebula")):
        with screen.step(text) as step:
            step.result = f"exit code {programs.stop_program(name)}"


def _create(device: Client) -> int:
    body = specification(faas=WANTED, device_info=DEVICE_INFO)
    _request(f"POST /serverless-runtimes {json.dumps(body)}")
    with screen.step("create a runtime") as step:
        runtime = device.create_runtime(WANTED, device_info=DEVICE_INFO)
        step.result = f"201: runtime {runtime.id}, VM {runtime.faas.vm_id}"
    _request(f"GET /serverless-runtimes/{runtime.id}")
    with screen.step("wait until it runs") as step:
        runtime = _watch(device, runtime.id, step, lambda state: state == "RUNNING")
        if not runtime.faas.endpoint:
            raise DemoError("the function is running, but has no ENDPOINT")
        step.result = f"endpoint {runtime.faas.endpoint}"
    return runtime.id


def _resize(device: Client, number: int) -> None:
    _request(f"PUT /serverless-runtimes/{number} {json.dumps(specification(faas=RESIZED))}")
    with screen.step("resize it") as step, ThreadPoolExecutor(1) as pool:
        update = pool.submit(device.update_runtime, number, faas=RESIZED)
        with Client(device.url, "devuser", "devpass") as watcher:
            _watch(watcher, number, step, lambda state: update.done() and state != "UPDATING")
        faas = update.result().faas
        if (faas.cpu, faas.memory_mb, faas.disk_size_mb) != (2, 1024, 2048):
            raise DemoError(f"the resize has led to {faas}")
        step.result = (
            f"200: {faas.cpu} cores, {faas.memory_mb} MB of memory, {faas.disk_size_mb} MB of disk"
        )


def _delete(device: Client, number: int) -> None:
    _request(f"DELETE /serverless-runtimes/{number}")
    with screen.step("delete it") as step:
        device.delete_runtime(number)
        step.result = "204"
    with screen.step("read it again") as step:
        try:
            device.get_runtime(number)
        except NotFound as error:
            step.result = f"404: {error.error}"
        else:
            raise DemoError("the deleted runtime is still there")


def _watch(
    device: Client, number: int, step: screen.Step, is_enough: Callable[[str], bool]
) -> Runtime:
    """Poll the runtime, show each change, and return the last state."""
    until, shown = time.monotonic() + STATE_SECONDS, ("", "")
    while True:
        runtime = device.get_runtime(number)
        state, reason = runtime.faas.state, runtime.faas.reason
        if (state, reason) != shown:
            step.state(state, reason)
            shown = state, reason
        if is_enough(state):
            return runtime
        if state == "ERROR" or time.monotonic() > until:
            raise DemoError(f"the function is in {state}: {reason}")
        time.sleep(POLL_SECONDS)


def _request(text: str) -> None:
    screen.say(f"{'':12}{screen.painted(text, dim=True)}")


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
