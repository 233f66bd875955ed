"""Replays recorded calls against a sandbox over its sockets and compares the responses.

A manual clock is set to the time of each recorded call, so that VMs change as fast as they did
then, without any waiting. Ids need no mapping: a story begins with the ids that OpenNebula had
reached. Values that cannot be known are masked, and each mask has its reason.
"""

from __future__ import annotations

import base64
import gzip
import http.client
import json
import re
import socket
import xmlrpc.client
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from provision_engine.sandbox import ManualClock, Sandbox

from .environments import Environment
from .record import with_sessions
from .recorded_environments import environment_of
from .stories import STORIES

RECORDINGS = Path(__file__).parent / "recordings"
FILES = (
    "opennebula-{}.jsonl.gz",
    "opennebula-{}-states.jsonl.gz",
    "opennebula-{}-endings.jsonl.gz",
    "opennebula-{}-permissions.jsonl.gz",
    "opennebula-{}-multicall.jsonl.gz",
)
RELEASES = ("6.8.0", "7.4.0")
PASSWORDS = {"devuser": "devpass", "other": "otherpass", "oneadmin": "opennebula"}
MULTICALL = "system.multicall"
DRIVER = "driver"
"""The backend of lines that record a driver's setting."""
_DRIVERS = {
    "prolog": "prolog", "deploy": "boot", "resize": "resize", "resize_disk": "disk-resize",
    "save": "save", "shutdown": "shutdown", "cancel": "shutdown", "epilog": "epilog",
}  # fmt: skip
"""The names of the drivers' files, and their names in the sandbox."""
TIME_TOLERANCE_SECONDS = 2
CUT_MARK = "…(cut)"

MASKS: tuple[tuple[str, str, str], ...] = (
    (r"(<UUID><!\[CDATA\[)[0-9a-f-]{36}", r"\1UUID", "random"),
    (r"<(REQ_ID|REQUEST_ID)>\d+<", r"<\1>N<", "a counter that calls of other users increase too"),
    (r"<MONITORING>.*?</MONITORING>", "<MONITORING></MONITORING>", "random values of the driver"),
    (r"<LAST_POLL>\d+<", "<LAST_POLL>N<", "the time of the last monitoring"),
    (r"\b(host|sand\d+-)\d+\b", "hostNN", "the best host depends on random loads"),
    (r"<HID>\d+<", "<HID>N<", "the same"),
    (r"(<TOKEN_PASSWORD><!\[CDATA\[)[^\]]*", r"\1SECRET", "omitted from the recording"),
    (r"127\.0\.0\.1:\d+", "127.0.0.1:PORT", "the port of that installation's OneGate"),
    (
        r"(Error executing image transfer script)[^\]]*",
        r"\1",
        "what follows is text of the drivers",
    ),
    (r"at line \d+", "at line 1", "6.8.0 shows uninitialized memory here"),
    (
        r"(undefined method [^\n\\\"]*)(?:\n|\\n)(?:[^\"\\]|\\.)*",
        r"\1",
        "what follows is oneflow's own source text",
    ),
    (
        r"\b[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}\b",
        "DATE",
        "the time of a message",
    ),
)
"""Pattern, replacement and the reason why the value cannot be known."""

_RACE = "read in the milliseconds before an accepted action had its effect"
_STRANGER = "shows a VM left by an earlier test"
_PLAN = "was scheduled together with a VM of another user"
_BUSY = "oneflow took many seconds, because the machine was busy"
_UNKNOWN = "unexplained: all other services refuse a DELETE in DEPLOYING"
_RACING_END = "whether oneflow had already removed a service that was deleted a moment before"
NOT_EQUAL: dict[tuple[str, str, float], str] = {
    ("6.8.0", "slow-shutdown", 35.19): "read between two writes at the end of a boot",
    ("6.8.0", "slow-shutdown", 38.147): _RACE,
    ("6.8.0", "scheduled-actions-in-pool", 46.415): _STRANGER,
    ("6.8.0", "scheduled-actions-in-pool", 46.471): _STRANGER,
    ("6.8.0", "poweroff-and-back", 57.035): _RACE,
    ("7.4.0", "poweroff-and-back", 101.932): _RACE,
    ("6.8.0", "prolog-failure", 144.992): _UNKNOWN,
    ("6.8.0", "prolog-failure", 147.834): _UNKNOWN,
    ("6.8.0", "slow-poweroff", 63.762): _BUSY,
    ("6.8.0", "slow-poweroff", 64.505): _BUSY,
    ("6.8.0", "slow-poweroff", 70.419): _BUSY,
    ("6.8.0", "slow-poweroff", 70.453): _BUSY,
    ("6.8.0", "slow-poweroff", 72.85): _BUSY,
    ("7.4.0", "delete-boot-failure", 190.877): _PLAN,
    ("7.4.0", "delete-boot-failure", 197.973): _PLAN,
    ("7.4.0", "vm-is-replaced-by-its-service", 16.652): _PLAN,
    ("7.4.0", "vm-is-replaced-by-its-service", 22.804): _PLAN,
    ("7.4.0", "vm-is-replaced-by-its-service", 46.918): _BUSY,
    ("7.4.0", "vm-is-replaced-by-its-service", 58.926): _BUSY,
    ("7.4.0", "vm-is-replaced-by-its-service", 62.14): _BUSY,
    ("7.4.0", "order-to-end-a-failed-vm", 222.146): _BUSY,
    ("7.4.0", "slow-epilog", 350.415): _BUSY,
    ("7.4.0", "slow-epilog", 357.525): _BUSY,
    ("6.8.0", "broken-services", 956.152): _RACING_END,
    ("6.8.0", "flow-templates-by-mode", 298.545): _RACING_END,
    ("7.4.0", "broken-services", 605.887): _RACING_END,
    ("7.4.0", "broken-services", 608.461): _RACING_END,
    ("7.4.0", "services-by-mode", 300.159): _RACING_END,
    ("7.4.0", "services-by-mode", 300.177): _RACING_END,
}
"""Release, scenario and time of calls whose responses differ in the sandbox, and why.

They are still compared, and count as not equal; the difference is expected.
"""

LEFT_OUT: dict[str, str] = {
    "page": "the page is the web framework's; only its status and type are compared",
}
_MASKS = [(re.compile(pattern, re.S), to) for pattern, to, _ in MASKS]
_TIME = re.compile(r"\b17\d{8}\b")


@dataclass
class Result:
    """The results of a scenario's calls; a repeated call counts once."""

    release: str
    scenario: str
    compared: int = 0
    left_out: int = 0
    differences: list[str] = field(default_factory=list)
    expected_differences: int = 0

    @property
    def total(self) -> int:
        """All recorded calls of the scenario."""
        return self.compared + self.left_out

    @property
    def equal(self) -> int:
        """The calls that were compared and equal."""
        return self.compared - len(self.differences) - self.expected_differences


def recorded(release: str) -> list[dict[str, Any]]:
    """The calls of a release's recordings, in order, each with its part: `at` grows within one."""
    calls = [call for name in FILES for call in _lines(RECORDINGS / name.format(release))]
    part, last = 0, 0.0
    for call in calls:
        part += call["at"] < last
        last = call["at"]
        call["part"] = part
    return calls


def _lines(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def stories(release: str) -> Iterator[tuple[tuple[str, ...], list[dict[str, Any]]]]:
    """The stories: the scenarios of each, with their calls."""
    calls = recorded(release)
    for names in STORIES[release]:
        yield names, [call for call in calls if call["scenario"] in names]


def replay(release: str, names: tuple[str, ...], calls: list[dict[str, Any]]) -> list[Result]:
    """Replays one story on a new sandbox; returns a result for each of its scenarios."""
    environment = environment_of(release, names, calls)
    results = {name: Result(release, name) for name in names}
    with _Player(release, environment) as player:
        for position, call in enumerate(calls):
            if call["backend"] == DRIVER:
                player.set_driver(call)
                continue
            following = calls[position + 1]["at"] if position + 1 < len(calls) else None
            player.play(call, following, results[call["scenario"]])
    return list(results.values())


class _Player:
    def __init__(self, release: str, environment: Environment) -> None:
        self._environment = environment
        self._clock = ManualClock(float(environment.seeds_at))
        self._sandbox = Sandbox(release=release, clock=self._clock, hosts=3)
        self._births = 0
        self._moments = list(environment.moments)
        self._connections: dict[str, http.client.HTTPConnection] = {}

    def __enter__(self) -> _Player:
        self._sandbox.start()
        for backend, url in (
            ("oned", self._sandbox.oned_url),
            ("oneflow", self._sandbox.oneflow_url),
        ):
            parts = urlsplit(url)
            assert parts.hostname
            self._connections[backend] = http.client.HTTPConnection(parts.hostname, parts.port)
        self._environment.prepare(self._sandbox)
        self._sandbox.timings = self._environment.timings
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._connections.values():
            connection.close()
        self._sandbox.stop()

    def play(self, call: dict[str, Any], following: float | None, result: Result) -> None:
        """Makes a recorded call as often as it was made, and compares each response."""
        times = call.get("repeated", 1)
        end = call["at"] + call["ms"] / 1000
        step = ((following or end) - end) / times if times > 1 else 0.0
        difference = None
        for count in range(times):
            self._move_to(call, max(0.0, end + count * step))
            found = self._once(call)
            difference = difference or found
        if difference == LEFT_OUT["page"]:
            result.left_out += 1
            return
        result.compared += 1
        is_expected = (result.release, result.scenario, call["at"]) in NOT_EQUAL
        if is_expected and not difference:
            difference = "    equal, although listed in NOT_EQUAL"
        elif is_expected:
            result.expected_differences += 1
            return
        if difference:
            result.differences.append(f"at {call['at']}: {_title(call)}\n{difference}")

    def set_driver(self, call: dict[str, Any]) -> None:
        """Makes a driver slow, failing or normal, as in the recording."""
        drivers, name = self._sandbox.faults.drivers, _DRIVERS[call["driver"]]
        self._set_clock(call["part"], call["at"])
        word, _, seconds = call["setting"].partition(" ")
        if word == "failure":
            drivers.set(name, fails=True)
        elif seconds:
            drivers.set(name, slow_seconds=float(seconds))
        else:
            drivers.reset(name)

    def _set_clock(self, part: int, at: float) -> None:
        now = self._environment.epoch(part) + at
        self._clock.advance(max(0.0, now - self._clock.now()))

    def _move_to(self, call: dict[str, Any], at: float) -> None:
        while self._moments and self._moments[0].at <= call["at"]:
            self._moments.pop(0).apply(self._sandbox)
        self._set_clock(call["part"], at)
        is_birth = '"instantiate"' in json.dumps(call.get("request"))
        if is_birth and call["status"] == 201:
            self._sandbox.timings = self._environment.timings_of(self._births)
            self._births += 1

    def _once(self, call: dict[str, Any]) -> str | None:
        if "raw_request" in call:
            return _differ(call["raw_response"], self._raw(call["raw_request"]))
        return self._oned(call) if call["backend"] == "oned" else self._oneflow(call)

    def _raw(self, body: str) -> str:
        parts = urlsplit(self._sandbox.oned_url)
        data = body.encode()
        head = f"POST /RPC2 HTTP/1.1\r\nContent-Length: {len(data)}\r\nConnection: close\r\n\r\n"
        with socket.create_connection((parts.hostname, parts.port)) as connection:
            connection.sendall(head.encode() + data)
            answer = b"".join(iter(lambda: connection.recv(65_536), b""))
        return answer.partition(b"\r\n\r\n")[2].decode()

    def _oned(self, call: dict[str, Any]) -> str | None:
        if call["method"] == MULTICALL:
            parameters = with_sessions(call["params"], PASSWORDS)
        else:
            fails = call.get("result", [True, "", 0])[2] == 256
            parameters = [_session(call, fails), *call["params"]]
        body = xmlrpc.client.dumps(tuple(parameters), call["method"]).encode()
        _, _, text = self._post("oned", "POST", "/RPC2", body, {"Content-Type": "text/xml"})
        try:
            answer = xmlrpc.client.loads(text)[0][0]
        except xmlrpc.client.Fault as fault:
            answer = {"fault": [fault.faultCode, fault.faultString]}
        wanted = call["result"] if "result" in call else {"fault": call["fault"]}
        return self._compare(json.dumps(wanted, indent=0), json.dumps(answer, indent=0))

    def _oneflow(self, call: dict[str, Any]) -> str | None:
        headers = {}
        if call.get("user") is not None:
            fails = call.get("response_text") == "Invalid credentials"
            secret = base64.b64encode(_session(call, fails).encode()).decode()
            headers["Authorization"] = f"Basic {secret}"
        request = call.get("request_text")
        if request is None and call["request"] is not None:
            request = json.dumps(call["request"])
        body = (request or "").encode()
        status, kind, text = self._post("oneflow", call["method"], call["path"], body, headers)
        head = _differ(f"{call['status']} {call.get('content_type')}", f"{status} {kind}")
        if head:
            return head
        title, is_cut, _ = call.get("response_text", "").partition(CUT_MARK)
        if is_cut and title.startswith("<title>"):
            return None if title in text else _differ(title, text)
        if is_cut:
            return LEFT_OUT["page"]
        if "response_text" in call:
            return self._compare(call["response_text"], text)
        answer = json.loads(text) if text else None
        return self._compare(json.dumps(call["response"], indent=0), json.dumps(answer, indent=0))

    def _compare(self, wanted: str, found: str) -> str | None:
        return _differ(wanted, found, self._environment.tolerance_seconds)

    def _post(
        self, backend: str, method: str, path: str, body: bytes, headers: dict[str, str]
    ) -> tuple[int, str | None, str]:
        connection = self._connections[backend]
        connection.request(method, path, body, headers)
        try:
            response = connection.getresponse()
        except http.client.RemoteDisconnected:
            connection.close()
            return 0, None, ""
        return response.status, response.getheader("Content-Type"), response.read().decode()


def _session(call: dict[str, Any], fails: bool) -> str:
    user = call["user"]
    if "password" in call:
        return f"{user}:{call['password']}"
    if user in PASSWORDS:
        return f"{user}:{'wrong' if fails else PASSWORDS[user]}"
    return f"{user}:x" if user == "nobody" else user


def _differ(wanted: str, found: str, tolerance: int = TIME_TOLERANCE_SECONDS) -> str | None:
    """The first difference of two responses; None if only masked values and small times differ."""
    for pattern, to in _MASKS:
        wanted, found = pattern.sub(to, wanted), pattern.sub(to, found)
    times = zip(_TIME.findall(wanted), _TIME.findall(found), strict=False)
    are_near = all(abs(int(a) - int(b)) <= tolerance for a, b in times)
    if are_near:
        wanted, found = _TIME.sub("TIME", wanted), _TIME.sub("TIME", found)
    if wanted == found:
        return None
    start = next(
        (i for i, (a, b) in enumerate(zip(wanted, found, strict=False)) if a != b),
        min(len(wanted), len(found)),
    )
    window = slice(max(0, start - 120), start + 240)
    return f"    recorded …{wanted[window]!r}\n    sandbox  …{found[window]!r}"


def _title(call: dict[str, Any]) -> str:
    if call["backend"] == "oned":
        return f"{call.get('method')} {str(call.get('params'))[:80]}"
    return f"{call['method']} {call['path']} {str(call.get('request'))[:60]}"
