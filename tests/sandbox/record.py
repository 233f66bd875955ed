"""Records calls to a real OpenNebula as JSON lines, for `replay.py`.

Run it against an installation that is for tests only, with OpenNebula's dummy drivers::

    python -m tests.sandbox.record --oned http://127.0.0.1:2633/RPC2 \
        --oneflow http://127.0.0.1:2474 --drivers /tmp/opennebula_dummy_actions \
        --user devuser:devpass --user oneadmin:PASSWORD --part endings \
        --out opennebula-6.8.0-endings.jsonl [SCENARIO ...]

Each line is one call with its answer, in the form that ``recordings/README.md`` describes. A line
with `backend` "driver" tells that a driver was made slow or failing from then on: `driver` is the
name of a file of the drivers' directory and `setting` its content, empty for a driver that behaves.
A scenario ends only what it has made itself, and puts the drivers back. Passwords are left out, but
for those that a scenario has invented. The first user is the one of most calls.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import copy
import http.client
import json
import re
import time
import xmlrpc.client
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from . import endings, hostile, multicalls, permissions

PARTS = {
    "endings": endings.SCENARIOS,
    "permissions": permissions.SCENARIOS | hostile.SCENARIOS,
    "multicall": multicalls.SCENARIOS,
}
Json = dict[str, Any]
DRIVER_FILES = (
    "prolog", "deploy", "resize", "resize_disk", "save", "restore", "shutdown", "cancel", "epilog",
)  # fmt: skip
CUT_MARK = "…(cut)"
"""Ends what is left of a page."""
PATIENCE_SECONDS = 60.0
_POLL_SECONDS = 0.1


class Recorder:
    """Makes calls as one user, and records them; `by` makes them as another one."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._given = dict(user.split(":", 1) for user in options.user)
        self._password: str | None = None
        self.user = next(iter(self._given))
        self.ids: dict[str, int] = {}
        self._oned, self._oneflow = options.oned, options.oneflow
        self._drivers = Path(options.drivers)
        self.start = time.time()
        self._lines: list[Json] = []
        self.scenario = ""
        self.release = self.quiet("system.version")[1]

    @property
    def is_seven(self) -> bool:
        """Is it a 7.x?"""
        return str(self.release).startswith("7")

    def by(self, user: str, password: str | None = None) -> Recorder:
        """Records calls of another user, whose password is invented unless it was given."""
        other = copy.copy(self)
        other.user, other._password = user, password
        return other

    @property
    def _session(self) -> str:
        password = self._given[self.user] if self._password is None else self._password
        return f"{self.user}:{password}"

    # ---- calls -------------------------------------------------------------------------------

    def quiet(self, method: str, *parameters: Any) -> list[Any]:
        """An XML-RPC call that is not recorded."""
        return self._call(f"one.{method}", self._session, *parameters)

    def _call(self, method: str, *parameters: Any) -> list[Any]:
        with xmlrpc.client.ServerProxy(self._oned) as proxy:
            answer = getattr(proxy, method)(*parameters)
        assert isinstance(answer, list)
        return answer

    def one(self, method: str, *parameters: Any) -> list[Any]:
        """An XML-RPC call."""
        return self._recorded(f"one.{method}", parameters, (self._session, *parameters))

    def part(self, method: str, *parameters: Any) -> Json:
        """A call of this user for `multicall`; the session comes before its parameters."""
        member: Json = {"methodName": f"one.{method}", "user": self.user}
        if self._password is not None:
            member["password"] = self._password
        return member | {"params": list(parameters)}

    def multicall(self, *parts: Any) -> list[Any]:
        """Several calls in one request."""
        return self.multicall_of(list(parts))

    def multicall_of(self, *parameters: Any) -> list[Any]:
        """The same with other parameters than a list of calls."""
        sent = with_sessions(list(parameters), self._given)
        return self._recorded("system.multicall", parameters, sent)

    def _recorded(self, method: str, parameters: Sequence[Any], sent: Sequence[Any]) -> list[Any]:
        began = time.time()
        call: Json = {"backend": "oned", "method": method, "params": list(parameters)}
        try:
            answer = call["result"] = self._call(method, *sent)
        except xmlrpc.client.Fault as fault:
            call["fault"] = [fault.faultCode, fault.faultString]
            answer = [False, fault.faultString, fault.faultCode]
        self._note(began, call)
        return answer

    def flow(self, method: str, path: str, request: Json | None = None) -> tuple[int, Any]:
        """A call of oneflow: its status and response."""
        began = time.time()
        parts = urlsplit(self._oneflow)
        assert parts.hostname
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
        secret = base64.b64encode(self._session.encode()).decode()
        body = None if request is None else json.dumps(request)
        connection.request(method, path, body, {"Authorization": f"Basic {secret}"})
        status, kind, text = _response(connection)
        call: Json = {"backend": "oneflow", "method": method, "path": path}
        call |= {"status": status, "content_type": kind, "request": request}
        answer: Any = None
        try:
            answer = call["response"] = json.loads(text) if text else None
        except ValueError:
            answer = call["response_text"] = _without_page(text)
        self._note(began, call)
        return status, answer

    def _note(self, began: float, call: Json) -> None:
        at, ms = round(began - self.start, 3), round((time.time() - began) * 1000, 1)
        head: Json = {"scenario": self.scenario, "at": at, "ms": ms, "user": self.user}
        if self._password is not None:
            head["password"] = self._password
        self._lines.append(head | call)

    # ---- drivers -----------------------------------------------------------------------------

    @contextlib.contextmanager
    def driver(self, setting: str, *names: str) -> Iterator[None]:
        """Makes drivers slow or failing within the block, and restores them afterwards."""
        before = {name: self._setting(name) for name in names}
        for name in names:
            self._set(name, setting)
        try:
            yield
        finally:
            for name, old in before.items():
                self._set(name, old)

    def _setting(self, name: str) -> str:
        file = self._drivers / name
        return file.read_text().strip() if file.exists() else ""

    def _set(self, name: str, setting: str) -> None:
        file = self._drivers / name
        if setting:
            file.write_text(setting + "\n")
        else:
            file.unlink(missing_ok=True)
        self._note_driver(name, setting)

    def _note_driver(self, name: str, setting: str) -> None:
        self._note(time.time(), {"backend": "driver", "driver": name, "setting": setting})

    # ---- what scenarios are made of ------------------------------------------------------------

    def begin(self, scenario: str) -> None:
        """Starts a scenario, and records the settings of the drivers."""
        self.scenario = scenario
        for name in DRIVER_FILES:
            setting = self._setting(name)
            if setting:
                self._note_driver(name, setting)

    def instantiate(self, name: str, /, template: int = 0, **role: Any) -> int:
        """Creates a service and returns its id."""
        merge: Json = {"name": name}
        if role:
            merge["roles"] = [role]
        action = {"perform": "instantiate", "params": {"merge_template": merge}}
        path = f"/service_template/{template}/action"
        _, answer = self.flow("POST", path, {"action": action})
        return int(answer["DOCUMENT"]["ID"])

    def recover(self, service: int, **params: Any) -> tuple[int, Any]:
        """A recover of a service."""
        action: Json = {"perform": "recover"} | ({"params": params} if params else {})
        return self.flow("POST", f"/service/{service}/action", {"action": action})

    def vms(self, service: int, count: int = 1) -> list[int]:
        """The VMs of a service, as soon as they exist."""

        def found() -> list[int]:
            text = str(self.quiet("document.info", service, False)[1])
            numbers = [int(n) for n in re.findall(r'"deploy_id":(\d+)', text)]
            return numbers if len(numbers) >= count else []

        return self._until(found)

    def wait(self, vm: int, state: int, lcm_state: int = 0) -> None:
        """Waits without recording until a VM exists; then records it."""
        wanted = f"<STATE>{state}</STATE><LCM_STATE>{lcm_state}</LCM_STATE>"
        self._until(lambda: wanted in str(self.quiet("vm.info", vm, False)[1]))
        self.one("vm.info", vm, False)

    def wait_gone(self, service: int) -> None:
        """Waits without recording until a service is gone; then records that."""
        self._until(lambda: not self.quiet("document.info", service, False)[0])
        self.one("document.info", service, False)

    def wait_service(self, service: int, state: int) -> None:
        """Waits without recording until a service has a state; then records it."""
        wanted = f'"state":{state},"start_time"'
        self._until(lambda: wanted in str(self.quiet("document.info", service, False)[1]))
        self.one("document.info", service, False)

    def pause(self, seconds: float) -> None:
        """Waits, to let the installation continue."""
        time.sleep(seconds)

    @staticmethod
    def _until(condition: Callable[[], Any]) -> Any:
        deadline = time.time() + PATIENCE_SECONDS
        while time.time() < deadline:
            found = condition()
            if found:
                return found
            time.sleep(_POLL_SECONDS)
        raise TimeoutError("the installation did not get there")

    def save(self, path: Path) -> None:
        """Writes the recorded calls."""
        path.write_text(
            "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in self._lines)
        )


def with_sessions(value: Any, passwords: dict[str, str]) -> Any:
    """The parameters of a recorded multicall as they were sent: each `user` as a session."""
    if isinstance(value, list):
        return [with_sessions(element, passwords) for element in value]
    if not isinstance(value, dict) or "user" not in value:
        return value
    rest = {name: with_sessions(value[name], passwords) for name in value}
    user = rest.pop("user")
    password = rest.pop("password", passwords.get(user))
    return rest | {"params": [f"{user}:{password}", *rest["params"]]}


def _response(connection: http.client.HTTPConnection) -> tuple[int, str | None, str]:
    """Status, content type and text of a response; 0 if the connection ends without one."""
    with contextlib.closing(connection):
        try:
            response = connection.getresponse()
        except http.client.RemoteDisconnected:
            return 0, None, ""
        return response.status, response.getheader("Content-Type"), response.read().decode()


def _without_page(text: str) -> str:
    """Of a page of the web framework only the title, which names the error and the path."""
    title = re.search("<title>.*?</title>", text)
    return title[0] + CUT_MARK if title else text


def main() -> None:
    """Records the named scenarios, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("oned", "oneflow", "drivers", "out"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--user", required=True, action="append")
    parser.add_argument("--part", required=True, choices=PARTS)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO")
    options = parser.parse_args()
    recorder, scenarios = Recorder(options), PARTS[options.part]
    print(f"began at {recorder.start:.2f}")
    for name in options.scenarios or scenarios:
        recorder.begin(name)
        try:
            scenarios[name](recorder)
        except (TimeoutError, OSError, LookupError, AssertionError) as error:
            print(f"{name}: {type(error).__name__}: {error}")
        recorder.save(Path(options.out))
        print(f"{name}: done", flush=True)


if __name__ == "__main__":
    main()
