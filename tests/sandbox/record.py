"""Plays a recording on a real OpenNebula, and records what that one answers.

Run it against an installation that is for tests only, with OpenNebula's dummy drivers::

    python -m tests.sandbox.record --oned http://127.0.0.1:2633/RPC2 \
        --oneflow http://127.0.0.1:2474 --drivers /tmp/opennebula_dummy_actions \
        --user devuser:devpass --user oneadmin:PASSWORD --out opennebula-6.8.0-endings.jsonl \
        opennebula-6.8.0-endings.jsonl.gz [SCENARIO ...]

Where a call names an object that the recording has made before, the id that it has here is sent;
others are given by ``--id template:0=7``. Calls keep their distance in time, and one that reads a
VM or a document is made until it shows the recorded state, for a minute. Calls that end otherwise
are printed. A new scenario is a file of calls, written by hand or by a program, with no more of
their answers than the ids of new objects: ``"result": [true, 1, 0]``, with any number.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .replay import DRIVER, MULTICALL, Backends, Call, lines

PATIENCE_SECONDS = 60.0
_POLL_SECONDS = 0.1
_READS = ("one.vm.info", "one.document.info")
_STATE = re.compile(r'<(?:LCM_)?STATE>\d+<|"state":\d+,"start_time"')
_MAKES = {
    "one.document.allocate": "document", "one.document.clone": "document",
    "one.template.allocate": "template", "one.template.clone": "template",
    "one.vm.allocate": "vm", "one.template.instantiate": "vm",
    "one.user.allocate": "user", "one.group.allocate": "group",
    "one.acl.addrule": "rule", "one.vm.schedadd": "action",
}  # fmt: skip
"""What the ids are that these methods return."""
_NAMES: dict[str, tuple[str | None, ...]] = {
    "one.vm.action": (None, "vm"),
    "one.vm.schedupdate": ("vm", "action"), "one.vm.scheddelete": ("vm", "action"),
    "one.user.addgroup": ("user", "group"), "one.user.delgroup": ("user", "group"),
    "one.user.chgrp": ("user", "group"),
    "one.user.allocate": (None, None, None, "group"), "one.user.login": (None, None, None, "group"),
    "one.acl.addrule": ("group bits",), "one.acl.delrule": ("rule",),
    "one.documentpool.info": ("user", "document", "document"),
    "one.templatepool.info": ("user", "template", "template"),
    "one.vmpool.info": ("user", "vm", "vm"), "one.vmpool.infoextended": ("user", "vm", "vm"),
    "one.vmpool.infoset": ("vm",),
}  # fmt: skip
"""What the parameters of these methods name, by position; of others only the first is an id."""
_MEMBERS = {
    "owner_id": "user", "group_id": "group", "vm_template": "template", "template_id": "template",
}  # fmt: skip
"""The same of members of a request to oneflow."""
_GROUP_BITS = 0x200000000
_IN_BODIES = re.compile(r'(deploy_id\\*": ?)(\d+)')
_TIME = re.compile(r'(TIME=\\*")(1[7-9]\d{8})')


class Ids(dict[tuple[str, int], int]):
    """The ids of an installation, by kind and recorded id."""

    later_seconds = 0.0
    """What to add to a time of the recording."""

    def one(self, kind: str, number: int) -> int:
        return self.get((kind, number), number)

    def unknown_vm(self, call: Call) -> int | None:
        """The VM that a recorded call names, if it is not known here."""
        if not call.get("method", "").startswith("one.vm.") or call["method"] in _MAKES:
            return None
        number = call["params"][1 if call["method"] == "one.vm.action" else 0]
        return None if number < 0 or ("vm", number) in self else int(number)

    def new_vm(self, shown: object) -> int | None:
        """The first VM that a service's document shows and that is not known yet."""
        known = {here for (kind, _), here in self.items() if kind == "vm"}
        numbers = [int(number) for _, number in _IN_BODIES.findall(str(shown))]
        return next((number for number in numbers if number not in known), None)

    def call(self, call: Call) -> Call:
        """A recorded call as it is to be made here."""
        if call["backend"] == "oned" and "params" in call:
            return call | {"params": self._parameters(call["method"], call["params"])}
        if "path" not in call:
            return call
        path = re.sub(
            r"(?<=/service/)\d+|(?<=/service_template/)\d+",
            lambda found: str(self.one("document", int(found[0]))),
            call["path"],
        )
        return call | {"path": path, "request": self._nested(call["request"])}

    def _parameters(self, method: str, values: list[Any]) -> list[Any]:
        if method == MULTICALL:
            return [self._nested(value) for value in values]
        kind, _, action = method.removeprefix("one.").partition(".")
        is_new = action == "allocate" or kind.endswith("pool") or kind == "system"
        first = (None,) if is_new else (kind,)
        kinds = _NAMES.get(method, (*first, "user", "group") if action == "chown" else first)
        return [self._value(k, v) for k, v in itertools.zip_longest(kinds[: len(values)], values)]

    def _nested(self, value: Any) -> Any:
        """The calls of a multicall, or the body of a request to oneflow."""
        if isinstance(value, list):
            return [self._nested(element) for element in value]
        if not isinstance(value, dict):
            return value
        if "user" in value and "methodName" in value:
            return value | {"params": self._parameters(value["methodName"], value["params"])}
        return {
            name: self.one(_MEMBERS[name], member)
            if name in _MEMBERS and isinstance(member, int)
            else self._nested(member)
            for name, member in value.items()
        }

    def _value(self, kind: str | None, value: Any) -> Any:
        if isinstance(value, list):
            return [self._value(kind, element) for element in value]
        if kind == "group bits":
            return f"{_GROUP_BITS + self.one('group', int(value, 16) - _GROUP_BITS):x}"
        if isinstance(value, str) and kind == "vm":
            return re.sub(r"\d+", lambda found: str(self.one("vm", int(found[0]))), value)
        if isinstance(value, str):
            text = _IN_BODIES.sub(lambda f: f"{f[1]}{self.one('vm', int(f[2]))}", value)
            return _TIME.sub(lambda f: f"{f[1]}{int(int(f[2]) + self.later_seconds)}", text)
        return value if kind is None or isinstance(value, bool | dict) else self.one(kind, value)


def made_ids(call: Call, answer: Call) -> Iterator[tuple[str, int, int]]:
    """Kind, recorded id and id here of the objects that a call has made or shown."""
    if call.get("status") == 201 == answer.get("status"):
        ids = [int(c["response"]["DOCUMENT"]["ID"]) for c in (call, answer)]
        yield "document", ids[0], ids[1]
    if call.get("method") == MULTICALL and "result" in call and "result" in answer:
        for part, *results in zip(*call["params"], call["result"], answer["result"], strict=True):
            if all(isinstance(result, list) for result in results):
                before, now = ({"result": result[0]} for result in results)
                yield from made_ids({"method": part["methodName"]} | before, now)
    elif call.get("result", [False])[:1] == [True] == answer.get("result", [False])[:1]:
        recorded, here = call["result"][1], answer["result"][1]
        if call["method"] in _MAKES:
            yield _MAKES[call["method"]], recorded, here
        numbers = [[int(n) for _, n in _IN_BODIES.findall(str(text))] for text in (recorded, here)]
        yield from (("vm", *pair) for pair in zip(*numbers, strict=False))


def outcome(call: Call) -> object:
    """What a call has to have in common with the recorded one: success, and the state shown."""
    if "result" in call and call["method"] != MULTICALL:
        result = call["result"]
        return [result[0], result[0] or result[2], *_STATE.findall(str(result[1]))]
    if "result" in call:
        return [r if isinstance(r, dict) else r[0][0] for r in call["result"]]
    return call.get("fault", call.get("status"))


class Recorder:
    """Makes recorded calls again, and keeps them with their new answers."""

    def __init__(self, backends: Backends, drivers: Path, ids: Ids) -> None:
        self.recorded: list[Call] = []
        self._backends, self._drivers, self._ids = backends, drivers, ids
        self._start = time.time()
        self._service: int | None = None

    def play(self, call: Call) -> None:
        """Makes a call, or sets a driver."""
        if call["backend"] == DRIVER:
            self._set_driver(call["driver"], call["setting"])
            self._keep(call, time.time())
            return
        self._find_vm(call)
        made = self._ids.call(call)
        deadline, wanted = time.time() + PATIENCE_SECONDS, outcome(call)
        while True:
            began = time.time()
            made |= self._answer(made)
            is_same = not wanted or outcome(made) == wanted
            if is_same or call.get("method") not in _READS or time.time() > deadline:
                break
            time.sleep(_POLL_SECONDS)
        if not is_same:
            print(f"{call['scenario']} at {call['at']}: {wanted} became {outcome(made)}")
        for kind, before, here in made_ids(call, made):
            self._ids[kind, before] = here
            self._service = here if "status" in made else self._service
        self._keep(made, began)

    def _answer(self, call: Call) -> Call:
        self._backends.close()  # a connection that was idle may be closed by the other side
        return self._backends.answer(call)

    def _find_vm(self, call: Call) -> None:
        """Waits for the VM of the last service if the call names one that is not known yet."""
        number, deadline = self._ids.unknown_vm(call), time.time() + PATIENCE_SECONDS
        look = {"backend": "oned", "method": "one.document.info", "user": call["user"]}
        while number is not None and self._service is not None and time.time() < deadline:
            here = self._ids.new_vm(self._answer(look | {"params": [self._service, False]}))
            if here is not None:
                self._ids["vm", number] = here
                return
            time.sleep(_POLL_SECONDS)

    def reset_drivers(self) -> None:
        """Puts back the drivers that calls have set and not put back."""
        for name in {call["driver"] for call in self.recorded if call["backend"] == DRIVER}:
            self._set_driver(name, "")

    def _set_driver(self, name: str, setting: str) -> None:
        file = self._drivers / name
        if setting:
            file.write_text(setting + "\n")
        else:
            file.unlink(missing_ok=True)

    def _keep(self, call: Call, began: float) -> None:
        at, ms = round(began - self._start, 3), round((time.time() - began) * 1000, 1)
        self.recorded.append(call | {"at": at, "ms": ms})


def play_all(calls: list[Call], play: Callable[[Call], None]) -> None:
    """Makes calls at the distance in time that they had."""
    ends = 0.0
    for call in calls:
        time.sleep(max(0.0, min(call.get("at", 0.0) - ends, PATIENCE_SECONDS)) if ends else 0.0)
        play(call)
        ends = call.get("at", 0.0) + call.get("ms", 0.0) / 1000


def _known(text: str) -> tuple[tuple[str, int], int]:
    kind, recorded, here = re.split("[:=]", text)
    return (kind, int(recorded)), int(here)


def main() -> None:
    """Plays the named scenarios of a recording, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("oned", "oneflow", "drivers", "out"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--user", required=True, action="append", metavar="NAME:PASSWORD")
    parser.add_argument("--id", action="append", default=[], type=_known, metavar="KIND:ID=ID")
    parser.add_argument("--epoch", type=float, default=0.0, help="when the recording began")
    parser.add_argument("recording", type=Path)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO")
    options = parser.parse_args()
    calls = [
        c
        for c in lines(options.recording)
        if c["scenario"] in options.scenarios or not options.scenarios
    ]
    users = dict(user.split(":", 1) for user in options.user)
    backends = Backends(options.oned, options.oneflow, users)
    later_seconds = time.time() - options.epoch - calls[0].get("at", 0.0)
    ids = Ids(options.id)
    ids.later_seconds = later_seconds
    recorder = Recorder(backends, Path(options.drivers), ids)
    print(f"began at {time.time():.2f}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        play_all(calls, recorder.play)
    finally:
        recorder.reset_drivers()
        texts = [json.dumps(call, ensure_ascii=False) + "\n" for call in recorder.recorded]
        Path(options.out).write_text("".join(texts))


if __name__ == "__main__":
    main()
