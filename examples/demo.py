"""The demo: what a device does with a runtime, and what it sees, on a sandbox."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click

from provision_engine import __version__
from provision_engine.client import Client, ClientError, Function, NotFound, Runtime, specification
from provision_engine.errors import OperatorError

RELEASES = ("7.4.0", "6.8.0")
# Slow enough to see each state, and fast enough to watch.
SANDBOX = (
    "sandbox --oned-port 0 --oneflow-port 0 --schedule-seconds 0.4 --prolog-seconds 0.6 "
    "--boot-seconds 0.5 --resize-seconds 0.5 --disk-resize-seconds 0.3"
)
USER, PASSWORD = "devuser", "devpass"
"""Known to the sandbox only."""
INTERRUPTED = 130
STATE_SECONDS, POLL_SECONDS, STOP_SECONDS = 30.0, 0.05, 15.0
SHOWN_LOG_LINES = 12

WANTED = Function("nature", cpu=1, memory_mb=512, disk_size_mb=1024)
RESIZED = Function(cpu=2, memory_mb=1024, disk_size_mb=2048)
DEVICE_INFO: dict[str, str | int | float] = {
    "LATENCY_TO_PE": 0.36,
    "GEOGRAPHIC_LOCATION": "Madrid",
}


class DemoError(OperatorError):
    """A step failed; the text says which and why."""


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
        signal.signal(number, signal.default_int_handler)
    with (
        tempfile.TemporaryDirectory(prefix="provision-engine-demo-") as directory,
        contextlib.ExitStack() as programs,
    ):
        try:
            show(Path(directory), programs, release)
        except (DemoError, ClientError, OSError) as error:
            words = _last_words(Path(directory))
            print(f"FAILED: {error}", *words, sep="\n    ", file=sys.stderr)
            context.exit(1)
        except KeyboardInterrupt:
            print("FAILED: interrupted", file=sys.stderr)
            context.exit(INTERRUPTED)
        finally:  # nothing interrupts the end of the programs
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
    _say("Done: the runtime is gone, and both programs have ended.")


def show(directory: Path, programs: contextlib.ExitStack, release: str) -> None:
    """Show all steps. Raises DemoError or ClientError if one fails."""
    _say(f"Provisioning Engine {__version__} on an OpenNebula {release} (a sandbox)\n")
    began = time.monotonic()
    cloud = Program(directory, "OpenNebula", [*SANDBOX.split(), "--release", release], programs)
    urls = dict(line.split(maxsplit=1) for line in cloud.read_until("ready") if line[:3] == "one")
    _report(began, "start OpenNebula", f"oned {urls['oned']}, oneflow {urls['oneflow']}")
    began = time.monotonic()
    configuration = _configuration(directory, urls["oned"], urls["oneflow"])
    arguments = ["--config", str(configuration), "start", "--foreground"]
    engine = Program(directory, "engine", arguments, programs)
    url = engine.read_until("serving on ")[-1].split()[2]
    _report(began, "start the engine", url)
    with Client(url, USER, PASSWORD) as device:
        number = _create(device)
        _resize(device, number)
        _delete(device, number)
    for program in (engine, cloud):
        began = time.monotonic()
        if code := program.stop():
            raise DemoError(f"the {program.name} ended with exit code {code}")
        name = "the engine" if program is engine else program.name
        _report(began, f"stop {name}", f"exit code {code}")


# ---- the programs ----------------------------------------------------------------------


class Program:
    """A command of the command line, which runs until it is stopped; its errors go to a file."""

    def __init__(
        self, directory: Path, name: str, arguments: list[str], programs: contextlib.ExitStack
    ) -> None:
        self.name = name
        with (directory / f"{name}.txt").open("w") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "provision_engine", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,  # Ctrl-C does not reach it
            )
        programs.callback(self.stop)

    def read_until(self, beginning: str) -> list[str]:
        """Return what it prints up to the line with this beginning."""
        lines: list[str] = []
        for line in self._process.stdout or ():
            lines.append(line.rstrip("\n"))
            if line.startswith(beginning):
                return lines
        raise DemoError(f"the {self.name} ended at once, with exit code {self._process.wait()}")

    def stop(self) -> int:
        """Stop it as a service manager does, and return its exit code."""
        self._process.terminate()
        try:
            return self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


def _configuration(directory: Path, oned_url: str, oneflow_url: str) -> Path:
    """Write the configuration of an engine on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    settings = {
        "one_xmlrpc": oned_url,
        "oneflow_server": oneflow_url,
        "port": port,
        "log": {"directory": str(directory / "log")},
        "server": {"pid_file": str(directory / "engine.pid"), "grace_seconds": 5},
    }
    file = directory / "engine.conf"
    file.write_text(json.dumps(settings))  # every JSON text is YAML too
    return file


def _last_words(directory: Path) -> list[str]:
    """Return the last lines of the programs' errors and of the engine's log."""
    lines = []
    for path in (*directory.glob("*.txt"), directory / "log/engine.log"):
        text = path.read_text(errors="replace") if path.exists() else ""
        lines += [f"{path.name}: {line}" for line in text.splitlines()[-SHOWN_LOG_LINES:]]
    return lines


# ---- the device ------------------------------------------------------------------------


def _create(device: Client) -> int:
    body = specification(faas=WANTED, device_info=DEVICE_INFO)
    began = _request(f"POST /serverless-runtimes {json.dumps(body)}")
    runtime = device.create_runtime(WANTED, device_info=DEVICE_INFO)
    created = f"201: runtime {runtime.id}, VM {runtime.faas.vm_id}"
    _report(began, "create a runtime", created)
    began = _request(f"GET /serverless-runtimes/{runtime.id}")
    runtime = _watch(device, runtime.id, began, lambda state: state == "RUNNING")
    if not runtime.faas.endpoint:
        raise DemoError("the function is running, but has no ENDPOINT")
    _report(began, "wait until it runs", f"endpoint {runtime.faas.endpoint}")
    return runtime.id


def _resize(device: Client, number: int) -> None:
    body = specification(faas=RESIZED)
    began = _request(f"PUT /serverless-runtimes/{number} {json.dumps(body)}")
    with ThreadPoolExecutor(1) as pool, Client(device.url, USER, PASSWORD) as watcher:
        update = pool.submit(device.update_runtime, number, faas=RESIZED)
        _watch(watcher, number, began, lambda state: update.done() and state != "UPDATING")
    faas = update.result().faas
    if (faas.cpu, faas.memory_mb, faas.disk_size_mb) != (2, 1024, 2048):
        raise DemoError(f"the resize has led to {faas}")
    sizes = f"{faas.cpu} cores, {faas.memory_mb} MB of memory, {faas.disk_size_mb} MB of disk"
    _report(began, "resize it", f"200: {sizes}")


def _delete(device: Client, number: int) -> None:
    began = _request(f"DELETE /serverless-runtimes/{number}")
    device.delete_runtime(number)
    _report(began, "delete it", "204")
    began = time.monotonic()
    try:
        device.get_runtime(number)
    except NotFound as error:
        _report(began, "read it again", f"404: {error.error}")
    else:
        raise DemoError("the deleted runtime is still there")


def _watch(device: Client, number: int, began: float, is_enough: Callable[[str], bool]) -> Runtime:
    """Poll the runtime, show each change, and return the last state."""
    until, shown = time.monotonic() + STATE_SECONDS, ("", "")
    while True:
        runtime = device.get_runtime(number)
        state, reason = runtime.faas.state, runtime.faas.reason
        if (state, reason) != shown:
            _say_after(began, f"  {state:<8} {reason}")
            shown = state, reason
        if is_enough(state):
            return runtime
        if state == "ERROR" or time.monotonic() > until:
            raise DemoError(f"the function is in {state}: {reason}")
        time.sleep(POLL_SECONDS)


# ---- output ----------------------------------------------------------------------------


def _say(text: str) -> None:
    print(text, flush=True)


def _say_after(began: float, text: str) -> None:
    """Print a line that begins with the time since the step began."""
    _say(f"{(time.monotonic() - began) * 1000:6.0f} ms   {text}".rstrip())


def _report(began: float, name: str, result: str) -> None:
    """Print the last line of a step."""
    _say_after(began, f"{name:<20} {result}")


def _request(text: str) -> float:
    """Print the request of a step that begins now."""
    _say(f"{'':12}{text}")
    return time.monotonic()


if __name__ == "__main__":
    main()
