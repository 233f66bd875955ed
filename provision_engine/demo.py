"""The main job, shown on a sandbox: what a device does with a runtime, and what it sees.

``python -m provision_engine.demo`` (or ``bin/demo`` in a checkout) starts an OpenNebula and the
engine as processes of their own on free ports of 127.0.0.1, and stops both whatever happens.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from provision_engine import __version__
from provision_engine.errors import OperatorError

RELEASES = ("7.4.0", "6.8.0")
USER, PASSWORD = "devuser", "devpass"
"""Known to the sandbox only."""

# Slow enough to see each state, quick enough to watch.
SANDBOX_SECONDS = {
    "--schedule-seconds": 0.4,
    "--prolog-seconds": 0.6,
    "--boot-seconds": 0.5,
    "--resize-seconds": 0.5,
    "--disk-resize-seconds": 0.3,
}
START_SECONDS = 30.0
STATE_SECONDS = 30.0
STOP_SECONDS = 15.0
ANSWER_SECONDS = 60.0
POLL_SECONDS = 0.05
SHOWN_LOG_LINES = 12
COLOURS = {"RUNNING": "32", "PENDING": "33", "UPDATING": "36", "ERROR": "31"}
INTERRUPTED = 130

WANTED = {
    "SERVERLESS_RUNTIME": {
        "FAAS": {"FLAVOUR": "nature", "CPU": 1, "MEMORY": 512, "DISK_SIZE": 1024},
        "DEVICE_INFO": {"LATENCY_TO_PE": 0.36, "GEOGRAPHIC_LOCATION": "Madrid"},
    }
}
RESIZED = {"SERVERLESS_RUNTIME": {"FAAS": {"CPU": 2, "MEMORY": 1024, "DISK_SIZE": 2048}}}

Json = dict[str, Any]


class DemoError(OperatorError):
    """Something did not go as it should; the text says what."""


def main(argv: Sequence[str] | None = None) -> int:
    """Show everything once. Returns 0, 1 when something failed, 130 when interrupted."""
    options = _parser().parse_args(argv)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    screen = Screen()
    with tempfile.TemporaryDirectory(prefix="provision-engine-demo-") as directory:
        house = House(Path(directory), screen)
        try:
            show(house, options.release, screen)
        except (DemoError, OSError) as error:
            screen.fail(str(error), house.last_words())
            return 1
        except KeyboardInterrupt:
            screen.fail("interrupted", [])
            return INTERRUPTED
        finally:
            house.stop()
    screen.say("Done: the runtime is gone, and both programs have ended.")
    return 0


def show(house: House, release: str, screen: Screen) -> None:
    """The steps. Raises DemoError where one fails."""
    screen.title(f"Provisioning Engine {__version__} on an OpenNebula {release} (a sandbox)")
    with screen.step("start OpenNebula") as step:
        cloud = house.start_cloud(release)
        step.result = f"oned {cloud.oned_url}, oneflow {cloud.oneflow_url}"
    with screen.step("start the engine") as step:
        port = house.start_engine(cloud)
        step.result = f"http://127.0.0.1:{port}"
    device = Device(port, screen)
    path = _create(device, screen)
    _resize(device, path, screen)
    _delete(device, path, screen)
    for name in ("engine", "OpenNebula"):
        with screen.step(f"stop {'the ' if name == 'engine' else ''}{name}") as step:
            step.result = f"exit code {house.stop_program(name)}"


def _create(device: Device, screen: Screen) -> str:
    screen.request("POST /serverless-runtimes", WANTED)
    with screen.step("create a runtime") as step:
        runtime = device.call("POST", "/serverless-runtimes", WANTED, wanted=201)
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
            runtime = device.call("PUT", path, RESIZED, wanted=200)
        function = runtime["FAAS"]
        for name, size in RESIZED["SERVERLESS_RUNTIME"]["FAAS"].items():
            if function[name] != size:
                raise DemoError(f"{name} is {function[name]} after the resize, not {size}")
        cores, memory, disk = (function[name] for name in ("CPU", "MEMORY", "DISK_SIZE"))
        step.result = f"200: {cores} cores, {memory} MB of memory, {disk} MB of disk"


def _delete(device: Device, path: str, screen: Screen) -> None:
    screen.request(f"DELETE {path}")
    with screen.step("delete it") as step:
        device.call("DELETE", path, wanted=204)
        step.result = "204"
    with screen.step("look for it again") as step:
        answer = device.call("GET", path, wanted=404)
        step.result = f"404: {answer['error']}"


def _endpoint(runtime: Json) -> str:
    endpoint = runtime["FAAS"]["ENDPOINT"]
    if not endpoint:
        raise DemoError("the function runs, but has no ENDPOINT")
    return str(endpoint)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("demo", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--release", choices=RELEASES, default=RELEASES[0], help="of the OpenNebula to show it on"
    )
    return parser


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


# ---- the programs ----------------------------------------------------------------------


class Cloud(NamedTuple):
    """Where an OpenNebula answers."""

    oned_url: str
    oneflow_url: str


class House:
    """The two programs of the demo, and their files in one directory."""

    def __init__(self, directory: Path, screen: Screen) -> None:
        self._directory, self._screen = directory, screen
        self._programs: dict[str, subprocess.Popen[str]] = {}

    def start_cloud(self, release: str) -> Cloud:
        """Start a sandbox and return when it is ready."""
        pauses = [text for name, value in SANDBOX_SECONDS.items() for text in (name, str(value))]
        ports = ["--oned-port", "0", "--oneflow-port", "0"]
        self._start("OpenNebula", ["sandbox", "--release", release, *ports, *pauses])
        lines: list[str] = []
        self._wait("OpenNebula", lambda: self._says_ready("OpenNebula", lines))
        urls = dict(line.split(maxsplit=1) for line in lines if line.startswith("one"))
        return Cloud(urls["oned"], urls["oneflow"])

    def start_engine(self, cloud: Cloud) -> int:
        """Start the engine and return its port when it answers."""
        port = _free_port()
        configuration = self._directory / "engine.conf"
        configuration.write_text(json.dumps(self._configuration(cloud, port), indent=2))
        self._start("engine", ["--config", str(configuration), "start", "--foreground"])
        self._wait("engine", lambda: _answers(port))
        return port

    def stop_program(self, name: str) -> int:
        """End a program as a service manager does. Raises DemoError where it fails to end well."""
        program = self._programs[name]
        program.terminate()
        try:
            code = program.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise DemoError(f"the {name} has not ended within {STOP_SECONDS:.0f} s") from None
        if code != 0:
            raise DemoError(f"the {name} ended with exit code {code}")
        del self._programs[name]
        return code

    def stop(self) -> None:
        """End what still runs; nothing interrupts that."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        for program in reversed(self._programs.values()):
            program.terminate()
        for program in self._programs.values():
            try:
                program.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                program.kill()
                program.wait()

    def last_words(self) -> list[str]:
        """The ends of what the programs wrote."""
        lines = []
        for path in (*self._directory.glob("*.txt"), self._directory / "log/engine.log"):
            text = path.read_text(errors="replace") if path.exists() else ""
            lines += [f"{path.name}: {line}" for line in text.splitlines()[-SHOWN_LOG_LINES:]]
        return lines

    def _configuration(self, cloud: Cloud, port: int) -> Json:
        """An engine.conf; every JSON text is YAML too."""
        return {
            "one_xmlrpc": cloud.oned_url,
            "oneflow_server": cloud.oneflow_url,
            "host": "127.0.0.1",
            "port": port,
            "log": {"directory": str(self._directory / "log")},
            "server": {"pid_file": str(self._directory / "engine.pid"), "grace_seconds": 5},
        }

    def _start(self, name: str, arguments: list[str]) -> None:
        """Start one of the program's commands, out of reach of the terminal's Ctrl-C."""
        with self._output(name).open("w") as output:
            self._programs[name] = subprocess.Popen(
                [sys.executable, "-P", "-m", "provision_engine.cli", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )

    def _output(self, name: str) -> Path:
        return self._directory / f"{name}.txt"

    def _says_ready(self, name: str, lines: list[str]) -> bool:
        lines[:] = self._output(name).read_text().splitlines()
        return "ready" in lines

    def _wait(self, name: str, is_ready: Callable[[], bool]) -> None:
        until = time.monotonic() + START_SECONDS
        while not is_ready():
            code = self._programs[name].poll()
            if code is not None:
                raise DemoError(f"the {name} ended at once, with exit code {code}")
            if time.monotonic() > until:
                raise DemoError(f"the {name} is not ready after {START_SECONDS:.0f} s")
            time.sleep(POLL_SECONDS)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


# ---- the device ------------------------------------------------------------------------


class Device:
    """Calls the engine over HTTP, as the software of a device does."""

    def __init__(self, port: int, screen: Screen) -> None:
        self._port, self._screen = port, screen
        token = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        self._headers = {"Authorization": f"Basic {token}", "Content-Type": "application/json"}

    def call(self, method: str, path: str, body: Json | None = None, *, wanted: int) -> Json:
        """The answer: a runtime, an error, or nothing. Raises DemoError for another status."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=ANSWER_SECONDS)
        sent = None if body is None else json.dumps(body)
        try:
            connection.request(method, path, sent, self._headers)
            response = connection.getresponse()
            text = response.read().decode()
        except (OSError, http.client.HTTPException) as error:
            raise DemoError(f"{method} {path}: the engine does not answer: {error}") from error
        finally:
            connection.close()
        if response.status != wanted:
            raise DemoError(f"{method} {path}: {response.status} instead of {wanted}: {text}")
        answer: Json = json.loads(text) if text else {}
        runtime: Json = answer.get("SERVERLESS_RUNTIME", answer)
        return runtime

    def watch(self, path: str, is_enough: Callable[[str], bool]) -> Json:
        """Look again and again, tell each change, and return what was seen last."""
        until, seen = time.monotonic() + STATE_SECONDS, ("", "")
        while True:
            runtime = self.call("GET", path, wanted=200)
            function = runtime["FAAS"]
            now = function["STATE"], function.get("REASON", "")
            if now != seen:
                self._screen.state(*now)
                seen = now
            if is_enough(now[0]):
                return runtime
            if now[0] == "ERROR":
                raise DemoError(f"the function is in ERROR: {now[1]}")
            if time.monotonic() > until:
                raise DemoError(f"the function is still {now[0]} after {STATE_SECONDS:.0f} s")
            time.sleep(POLL_SECONDS)

    @contextlib.contextmanager
    def watched(self, path: str) -> Iterator[None]:
        """Tell the changes that happen while something else is called."""
        over = threading.Event()

        def look() -> None:
            # What goes wrong here goes wrong for the other call as well, and is told there.
            with contextlib.suppress(DemoError):
                self.watch(path, lambda state: over.is_set() and state != "UPDATING")

        watcher = threading.Thread(target=look, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()


# ---- the screen ------------------------------------------------------------------------


class Step:
    """A step that is being done; its result is what its line ends with."""

    result = ""


class Screen:
    """Standard output: a line for each step, coloured on a terminal."""

    def __init__(self) -> None:
        self._is_terminal = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self._has_colours = self._is_terminal and not os.environ.get("NO_COLOR")
        self._began = 0.0
        self._lock = threading.Lock()

    def title(self, text: str) -> None:
        self.say(f"{self._painted('1', text)}\n")

    def say(self, text: str) -> None:
        print(text, flush=True)

    def request(self, call: str, body: Json | None = None) -> None:
        text = f"{call} {json.dumps(body)}" if body else call
        self.say(f"{'':12}{self._painted('2', text)}")

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """One step: named while it lasts, and with its duration when it is done."""
        step, self._began = Step(), time.monotonic()
        if self._is_terminal:
            print(f"{'...':>9}   {name}", end="", flush=True)
        yield step
        self._line(f"{self._painted('1', f'{name:<20}')} {step.result}")

    def state(self, state: str, reason: str) -> None:
        """A state that was just seen."""
        shown = self._painted(COLOURS.get(state, "0"), f"{state:<8}")
        self._line(f"  {shown} {reason}".rstrip())

    def fail(self, text: str, details: Sequence[str]) -> None:
        with contextlib.suppress(OSError):  # nobody may read it any more
            self._erase()
            sys.stdout.flush()
        print(self._painted("31", f"FAILED: {text}"), file=sys.stderr)
        for line in details:
            print(f"    {line}", file=sys.stderr)

    def _line(self, text: str) -> None:
        spent_ms = (time.monotonic() - self._began) * 1000
        with self._lock:
            self._erase()
            self.say(f"{spent_ms:6.0f} ms   {text}".rstrip())

    def _erase(self) -> None:
        if self._is_terminal:
            print("\r\033[K", end="")

    def _painted(self, colour: str, text: str) -> str:
        return f"\033[{colour}m{text}\033[0m" if self._has_colours else text


if __name__ == "__main__":
    sys.exit(main())
