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
import xmlrpc.client
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from provision_engine.sandbox import ManualClock, Sandbox

from .environments import Environment, apply, environments

Call = dict[str, Any]
"""A recorded call, in the form that recordings/README.md describes."""
RECORDINGS = Path(__file__).parent / "recordings"
PARTS = ("", "-states", "-endings", "-permissions", "-multicall", "-operators")
RELEASES = ("6.8.0", "7.4.0")
PASSWORDS = {"devuser": "devpass", "other": "otherpass", "oneadmin": "opennebula"}
MULTICALL = "system.multicall"
AUTHENTICATION = 0x100
"""oned's error code for a wrong user or password."""
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
    (r"(2001:db8::|fe80::)[0-9a-f:]+", r"\1HOST", "from a random MAC"),
    (r"02:00:(?!0a:00)[0-9a-f:]{11}", "MAC", "random in a network without IPv4"),
    (r"\b(host|(?:sand|dummy)\d+-)\d+\b", "hostNN", "the best host depends on random loads"),
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

_MASKS = [(re.compile(pattern, re.S), to) for pattern, to, _ in MASKS]
_TIME = re.compile(r"\b17\d{8}\b")


def recorded(release: str) -> list[Call]:
    """The calls of a release's recordings, in order.

    Each has the name of its recording and its part: `at` grows within one.
    """
    calls = []
    for name in PARTS:
        file = RECORDINGS / f"opennebula-{release}{name}.jsonl.gz"
        calls += [call | {"recording": name} for call in lines(file)]
    part, last = 0, 0.0
    for call in calls:
        part += call["at"] < last
        last = call["at"]
        call["part"] = part
    return calls


def lines(path: Path) -> list[Call]:
    """The calls of one recording, compressed or not."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def stories(release: str) -> Iterator[tuple[Environment, list[Call]]]:
    """The stories: the environment of each, with the calls of its scenarios."""
    calls = recorded(release)
    for environment in environments(release):
        yield environment, [c for c in calls if c["scenario"] in environment.scenarios]


def is_page(call: Call) -> bool:
    """Whether the response is the web framework's page; only its status and type are compared."""
    text = call.get("response_text", "")
    return CUT_MARK in text and not text.startswith("<title>")


def replay(environment: Environment, calls: list[Call]) -> list[str]:
    """Replays one story on a new sandbox. Returns the differences."""
    found = []
    with _Player(environment) as player:
        for position, call in enumerate(calls):
            if call["backend"] == DRIVER:
                player.set_driver(call)
                continue
            following = calls[position + 1]["at"] if position + 1 < len(calls) else None
            difference = player.play(call, following)
            if (call["scenario"], call["at"]) in environment.differences:
                difference = None if difference else "    equal, although it is known to differ"
            if difference:
                found.append(f"{call['scenario']} at {call['at']}: {_title(call)}\n{difference}")
    return found


class _Player:
    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._clock = ManualClock(float(environment.story["seeds_at"]))
        self._sandbox = Sandbox(environment.release, clock=self._clock, hosts=3)
        self._births = 0
        self._moments = environment.moments()

    def __enter__(self) -> _Player:
        self._sandbox.start()
        urls = self._sandbox.oned_url, self._sandbox.oneflow_url
        self._backends = Backends(*urls, PASSWORDS)
        self._environment.prepare(self._sandbox)
        self._sandbox.timings = self._environment.timings()
        return self

    def __exit__(self, *_: object) -> None:
        self._backends.close()
        self._sandbox.stop()

    def play(self, call: Call, following: float | None) -> str | None:
        """Makes a recorded call as often as it was made. Returns the first difference."""
        times = call.get("repeated", 1)
        end = call["at"] + call["ms"] / 1000
        step = ((following or end) - end) / times if times > 1 else 0.0
        difference = None
        for count in range(times):
            self._move_to(call, max(0.0, end + count * step))
            found = self._once(call)
            difference = difference or found
        return difference

    def set_driver(self, call: Call) -> None:
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

    def _move_to(self, call: Call, at: float) -> None:
        while self._moments and self._moments[0]["at"] <= call["at"]:
            apply(self._moments.pop(0), self._sandbox)
        self._set_clock(call["part"], at)
        is_birth = '"instantiate"' in json.dumps(call.get("request"))
        if is_birth and call["status"] == 201:
            self._sandbox.timings = self._environment.timings(self._births)
            self._births += 1

    def _once(self, call: Call) -> str | None:
        answer = self._backends.answer(call)
        if call["backend"] == "oneflow":
            return self._compare_http(call, answer)
        for kind in ("result", "fault", "raw_response"):
            if kind in call and kind in answer:
                return self._compare(call[kind], answer[kind])
        return f"    recorded {str(call)[:300]}\n    sandbox  {str(answer)[:300]}"

    def _compare_http(self, call: Call, answer: Call) -> str | None:
        wanted, found = (f"{c['status']} {c.get('content_type')}" for c in (call, answer))
        if wanted != found:
            return differ(wanted, found)
        if is_page(call):
            return None
        title, is_cut, _ = call.get("response_text", "").partition(CUT_MARK)
        if is_cut:
            text = answer["response_text"]
            return None if title in text else differ(title, text)
        kind = "response_text" if "response_text" in call else "response"
        return self._compare(call[kind], answer.get(kind, answer.get("response_text")))

    def _compare(self, wanted: Any, found: Any) -> str | None:
        before, now = (
            v if isinstance(v, str) else json.dumps(v, indent=0) for v in (wanted, found)
        )
        return differ(before, now, self._environment.story["tolerance_seconds"])


class Backends:
    """Makes recorded calls on an OpenNebula, real or not."""

    def __init__(self, oned_url: str, oneflow_url: str, passwords: dict[str, str]) -> None:
        self._passwords = passwords
        self._connections = {
            name: http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
            for name, url in (("oned", oned_url), ("oneflow", oneflow_url))
        }

    def close(self) -> None:
        """Closes the connections."""
        for connection in self._connections.values():
            connection.close()

    def answer(self, call: Call) -> Call:
        """The members of a recorded call that hold its answer."""
        if "raw_request" in call:
            body = call["raw_request"].encode()
            return {"raw_response": self._post("oned", "POST", "/RPC2", body, {})[2]}
        return self._oned(call) if call["backend"] == "oned" else self._oneflow(call)

    def _oned(self, call: Call) -> Call:
        parameters = call["params"]
        if call["method"] == MULTICALL:
            parameters = self._with_sessions(parameters)
        else:
            fails = call.get("result", [True, "", 0])[2] == AUTHENTICATION
            parameters = [self._session(call, fails), *parameters]
        body = xmlrpc.client.dumps(tuple(parameters), call["method"]).encode()
        _, _, text = self._post("oned", "POST", "/RPC2", body, {"Content-Type": "text/xml"})
        try:
            return {"result": xmlrpc.client.loads(text)[0][0]}
        except xmlrpc.client.Fault as fault:
            return {"fault": [fault.faultCode, fault.faultString]}

    def _with_sessions(self, value: Any) -> Any:
        """The parameters of a multicall, with a session in the place of each call's user."""
        if isinstance(value, list):
            return [self._with_sessions(element) for element in value]
        if not isinstance(value, dict) or "user" not in value:
            return value
        sent = {k: v for k, v in value.items() if k not in ("user", "password")}
        return sent | {"params": [self._session(value, False), *value["params"]]}

    def _oneflow(self, call: Call) -> Call:
        headers = {}
        if call.get("user") is not None:
            fails = call.get("response_text") == "Invalid credentials"
            secret = base64.b64encode(self._session(call, fails).encode()).decode()
            headers["Authorization"] = f"Basic {secret}"
        request = call.get("request_text")
        if request is None and call["request"] is not None:
            request = json.dumps(call["request"])
        body = (request or "").encode()
        status, kind, text = self._post("oneflow", call["method"], call["path"], body, headers)
        answer: Call = {"status": status, "content_type": kind}
        try:
            return answer | {"response": json.loads(text) if text else None}
        except ValueError:
            return answer | {"response_text": text}

    def _session(self, call: Call, fails: bool) -> str:
        user = call["user"]
        if "password" in call:
            return f"{user}:{call['password']}"
        if user in self._passwords:
            return f"{user}:{'wrong' if fails else self._passwords[user]}"
        return f"{user}:x" if user == "nobody" else str(user)

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


def differ(wanted: str, found: str, tolerance: int = TIME_TOLERANCE_SECONDS) -> str | None:
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


def _title(call: Call) -> str:
    if call["backend"] == "oned":
        return f"{call.get('method')} {str(call.get('params'))[:80]}"
    return f"{call['method']} {call['path']} {str(call.get('request'))[:60]}"
