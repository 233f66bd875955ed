"""An ordinary user writes whatever he can into OpenNebula, and nobody else notices.

Objects (runtimes in each phase, tickets for locks, services, flow templates, VMs) × what they claim
× their permissions × releases. Each is met by its owner, by a victim and by an administrator, in
every way that the engine has, and by ``reconcile`` of all three. After each of these steps nothing
of the victim and of the administrator has changed or was shown to anybody else, and the victim's
own requests are answered as before. Prints the counts; the exit code is 1 when anything is wrong.

    python -m tests.security.hostile_matrix                        # both sandboxes
    python -m tests.security.hostile_matrix --kind DELETING --content VM --mode 666
    python -m tests.security.hostile_matrix --oned http://one:2633/RPC2 --oneflow http://one:2474 \
        --admin oneadmin:PASSWORD                                   # on a real OpenNebula
"""

from __future__ import annotations

import itertools
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from provision_engine.engine.safety.reconcile import Result
from tests.reliability.lanes import command_as, exit_code, matrix_parser, run_all, wrong_lines
from tests.security import forgeries
from tests.security.forgeries import Forgery
from tests.security.scene import MODES, Scene, Things, bits, open_scene, publish
from tests.support.client import RUNTIMES, Response
from tests.support.engine import EngineProcess, settings_for
from tests.support.installation import Target, target
from tests.support.opennebula import RUNTIME, SERVICE, OpenNebula
from tests.support.waiting import wait_until

KINDS: dict[str, Sequence[str]] = {
    **dict.fromkeys(forgeries.PHASES, tuple(forgeries.CONTENTS)),
    "no JSON": forgeries.NO_JSON,
    "ticket": tuple(forgeries.TICKETS),
    **{
        f"service of {phase}": tuple(forgeries.SERVICES)
        for phase in ("READY", "DELETING", "REPLACING")
    },
    **{
        f"service, {name} name": (*forgeries.SERVICES, *forgeries.NO_JSON[:2])
        for name in forgeries.SERVICE_NAMES
    },
    "older flow template": (*forgeries.FLOW_TEMPLATES, *forgeries.NO_JSON[:3]),
    "newer flow template": (*forgeries.FLOW_TEMPLATES, *forgeries.NO_JSON[:3]),
    "VM": tuple(forgeries.VM_CLAIMS),
}
LANES, REAL_LANES = 4, 8
FAILED = "The engine failed"
"""What the engine answers where it met something that nobody expected."""
SETTLE_SECONDS = 120.0


class Case(NamedTuple):
    """One object of the attacker."""

    release: str
    kind: str
    content: str
    mode: str


@dataclass
class Outcome:
    case: Case
    steps: int = 0
    wrong: list[str] = field(default_factory=list)


@dataclass
class Step:
    """One meeting of somebody with the object."""

    name: str
    who: OpenNebula
    do: Callable[[int], Sequence[Response] | str]
    """Given the object's id; the responses, or what was printed."""


class _Run:
    """The steps of one case."""

    def __init__(self, scene: Scene, case: Case) -> None:
        self._scene, self._case, self._outcome = scene, case, Outcome(case)
        self._before: Things = {}
        self._own: list[Any] = []
        self._forgery: Forgery | None = None
        self._number = forgeries.NO_ID
        self._flavour = ""

    def outcome(self) -> Outcome:
        with ExitStack() as stack:
            stack.callback(self._tidy_up)
            self._prepare(stack)
            self._before, self._own = self._scene.things(), self._own_responses()
            for step in self._steps():
                self._take(step)
        return self._outcome

    # ---- the object ------------------------------------------------------------------------------

    def _prepare(self, stack: ExitStack) -> None:
        scene, (_, kind, content, mode) = self._scene, self._case
        facts = scene.facts
        if kind == "ticket":
            self._locked_id, since = self._lock()
            self._forgery = forgeries.ticket(content, self._locked_id, since)
        elif kind in forgeries.PHASES:
            self._forgery = forgeries.runtime(kind, content, facts)
        elif kind == "no JSON":
            self._forgery = Forgery(RUNTIME, "forged", content)
        elif kind.startswith("service of "):
            service = forgeries.service("own", content, facts)
            number = scene.plant(service, mode)
            stack.callback(scene.uproot, number)
            phase = kind.rpartition(" ")[2]
            self._forgery = forgeries.owner_of_service(phase, number, facts)
        elif kind.startswith("service, "):
            name = kind.removeprefix("service, ").removesuffix(" name")
            self._forgery = forgeries.service(name, content, facts)
        elif kind == "VM":
            self._claim()
        else:
            self._flavour = f"{facts.flavour}-{os.urandom(4).hex()}"
            self._forgery = forgeries.flow_template(self._flavour, content, facts)
            if kind.startswith("newer"):
                self._publish(stack)
        self._refresh()
        if kind.startswith("older"):
            self._publish(stack)

    def _publish(self, stack: ExitStack) -> None:
        number = publish(self._scene, self._flavour)
        stack.callback(self._scene.administrator.refusal, "document.delete", number)

    def _lock(self) -> tuple[int, int]:
        """Leave a runtime of the victim locked, as a dead engine does; its id and the time."""
        one = self._scene.victim
        number = self._scene.plant(Forgery(RUNTIME, "left", "{}"), "600", one)
        one.call("document.lock", number, 3, True)
        since = int(one.document(number).findtext("LOCK/TIME") or 0)
        engine = {"CLAIMED_AT": since, "WORKER": forgeries.dead_worker()}
        body = {"FAAS": forgeries.function(None), "ENGINE": engine}
        one.write(number, forgeries.dump(body))
        return number, since

    def _claim(self) -> None:
        """Let a VM of the attacker claim something."""
        scene, (_, _, content, mode) = self._scene, self._case
        one, vm_template_id = scene.attacker, scene.facts.vm_template_id
        self._vm_id = int(one.call("template.instantiate", vm_template_id, "vm", False, "", False))
        one.call("vm.update", self._vm_id, forgeries.vm_claim(content, scene.facts), 0)
        one.call("vm.chmod", self._vm_id, *bits(mode))
        own = {"FAAS": forgeries.function(self._vm_id), "SERVICE_ID": scene.facts.service_id}
        self._forgery = Forgery(RUNTIME, "forged", forgeries.dump(own))

    def _refresh(self) -> None:
        """Write the object anew where a step has changed or removed it."""
        if self._forgery is None or self._scene.is_planted(self._number, self._forgery):
            return
        self._scene.uproot(self._number)
        self._number = self._scene.plant(self._forgery, self._case.mode)

    def _tidy_up(self) -> None:
        one = self._scene.attacker
        for kind in (RUNTIME, SERVICE, forgeries.FLOW_TEMPLATE):
            for number in one.ids(kind):
                self._scene.uproot(number)
        one.clear()
        if self._case.kind == "ticket":
            self._scene.victim.refusal("document.unlock", self._locked_id)
            self._scene.victim.refusal("document.delete", self._locked_id)

    # ---- the steps -------------------------------------------------------------------------------

    def _steps(self) -> Iterator[Step]:
        scene = self._scene
        users = {"attacker": scene.attacker, "victim": scene.victim, "admin": scene.administrator}
        for name, user in users.items():
            for action, do in self._requests(user).items():
                yield Step(f"{name} {action}", user, do)
        for name, user in users.items():
            for is_applied in (False, True):
                what = f"{name} reconcile{' --apply' if is_applied else ''}"
                yield Step(what, user, partial(self._reconcile, user, is_applied))
        yield Step("victim create", scene.victim, self._create)
        if "flow template" in self._case.kind:
            yield Step("victim check", scene.victim, self._check)
        if self._case.kind == "ticket":
            yield Step("victim takes the lock over", scene.victim, self._take_over)

    def _requests(self, user: OpenNebula) -> dict[str, Callable[[int], Sequence[Response]]]:
        def send(
            method: str, path: str = "", members: Any = None
        ) -> Callable[[int], Sequence[Response]]:
            return lambda number: [
                self._scene.request(user, method, f"{RUNTIMES}/{number}{path}", body=members)
            ]

        def read(number: int) -> Sequence[Response]:
            own = f"{RUNTIMES}/{number}"
            paths = [own, f"{own}/timeline", RUNTIMES, f"{RUNTIMES}?state=ERROR&limit=5"]
            paths += ["/flavours"] if self._flavour else []
            return [self._scene.request(user, "GET", path) for path in paths]

        return {
            "reads": read,
            "PUT": send("PUT", members={"NAME": "renamed", "SCHEDULING": {"POLICY": "energy"}}),
            "PUT LEASE": send("PUT", members={"LEASE": {"TTL": 5000}}),
            "recover": send("POST", "/recover?replace=true"),
            "suspend": send("POST", "/suspend"),
            "resume": send("POST", "/resume"),
            "DELETE": send("DELETE"),
        }

    def _reconcile(self, user: OpenNebula, is_applied: bool, _: int) -> str:
        """What the command does; on a shared installation only to what belongs to this lane."""
        reconciler = self._scene.reconciler(user)
        owners = self._scene.user_ids
        found = [f for f in reconciler.find() if f.owner_id in owners.values()]
        others = [f for f in found if f.owner_id != owners["attacker"]]
        if others and self._case.kind != "ticket":
            raise AssertionError(f"it found {others}")
        outcomes = [reconciler.apply(finding) for finding in found if is_applied]
        failed = [outcome for outcome in outcomes if outcome.result is Result.FAILED]
        if failed and user is self._scene.administrator:
            raise AssertionError(f"the command would exit with 1: {failed}")
        return f"{found} {outcomes}"

    def _create(self, _: int) -> Sequence[Response]:
        """A create of the victim deploys the administrator's template, and is deleted again."""
        scene, one = self._scene, self._scene.victim
        flavour = self._flavour or scene.facts.flavour
        members = {"FAAS": {"FLAVOUR": flavour}}
        created = scene.request(one, "POST", RUNTIMES, body=members)
        assert created.status == 201, created.content
        runtime = created.runtime
        wanted = scene.administrator.flow_template_id(flavour, scene.user_ids["administrator"])
        vm = one.vm(runtime["FAAS"]["VM_ID"])
        assert vm["USER_TEMPLATE"]["FLAVOURS"] == str(wanted), vm["USER_TEMPLATE"]
        deleted = scene.request(one, "DELETE", f"{RUNTIMES}/{runtime['ID']}?wait=60")
        assert deleted.status == 204, deleted.content
        with suppress(AssertionError):  # what is there then is wrong
            wait_until(lambda: scene.things() == self._before, SETTLE_SECONDS, 0.05)
        return [created]

    def _check(self, _: int) -> str:
        """The command ``check`` exits with 0, as if nothing were there."""
        with tempfile.TemporaryDirectory() as directory:
            engine = EngineProcess(Path(directory), settings_for(self._scene.installation))
            done = command_as(engine, self._scene.victim.user, "check", self._flavour)
        printed = done.stdout + done.stderr
        assert done.returncode == 0, printed
        assert all(c.isprintable() or c == "\n" for c in printed), repr(printed)
        return printed

    def _take_over(self, _: int) -> Sequence[Response]:
        """The victim changes a runtime that a dead engine left locked."""
        path = f"{RUNTIMES}/{self._locked_id}"

        def is_accepted() -> Response | None:
            self._refresh()
            response = self._scene.request(self._scene.victim, "DELETE", path)
            return None if response.status == 423 else response

        response: Response = wait_until(is_accepted, 10.0, 0.5)
        assert response.status == 204, response.content
        self._before.pop(f"document {self._locked_id}", None)
        return [response]

    # ---- what has to hold ------------------------------------------------------------------------

    def _take(self, step: Step) -> None:
        """Take a step, and look at everything. Raises AssertionError where anything is wrong."""
        self._refresh()
        self._outcome.steps += 1
        try:
            told = step.do(self._number)
            wrong = [*self._what_is_told(step, told), *self._what_has_changed()]
        except Exception as error:
            wrong = [f"{type(error).__name__}: {error}"]
        if wrong:  # in a scene that is no longer as it was
            raise AssertionError("; ".join([step.name, *(text[:300] for text in wrong)]))

    def _what_is_told(self, step: Step, told: Sequence[Response] | str) -> Iterator[str]:
        responses = () if isinstance(told, str) else told
        text = told if isinstance(told, str) else "".join(r.content.decode() for r in told)
        if FAILED in text:
            yield text[:300]
        if step.who is self._scene.attacker:
            yield from (f"it shows {s}" for s in self._scene.secrets if s in text)
            for response in responses:
                yield from self._what_is_seen(response)

    def _what_is_seen(self, response: Response) -> Iterator[str]:
        """The states of VMs that the attacker's documents name are none of his concern."""
        if response.status != 200:
            return
        entries = response.json if isinstance(response.json, list) else [response.json]
        functions = [
            entry["SERVERLESS_RUNTIME"].get(role, {})
            for entry in entries
            if "SERVERLESS_RUNTIME" in entry
            for role in ("FAAS", "DAAS")
        ]
        seen = [f for f in functions if f.get("STATE") == "RUNNING" or f.get("ENDPOINT")]
        own = self._scene.attacker.vm_ids() if seen else set()
        yield from (f"it shows {function}" for function in seen if function["VM_ID"] not in own)

    def _what_has_changed(self) -> Iterator[str]:
        now = self._scene.things()
        for name in sorted(now.keys() | self._before.keys()):
            if now.get(name) != self._before.get(name):
                yield f"{name} {_difference(self._before.get(name, b''), now.get(name, b''))}"
        if self._own_responses() != self._own:
            yield f"the victim is answered {self._own_responses()}"

    def _own_responses(self) -> list[Any]:
        """What the victim is answered that has nothing to do with anybody else."""
        scene = self._scene
        paths = (f"{RUNTIMES}/{scene.facts.runtime_id}", f"{RUNTIMES}?limit=1&order=asc")
        return [scene.request(scene.victim, "GET", path)[0::2] for path in paths]


def _difference(before: bytes, now: bytes) -> str:
    """What stands in two texts where they begin to differ."""
    pairs = enumerate(zip(before, now, strict=False))
    start = next((n for n, (a, b) in pairs if a != b), min(len(before), len(now)))
    shown = slice(max(0, start - 20), start + 80)
    return f"was …{before[shown]!r}, is …{now[shown]!r}"


def run_case(scene: Scene, case: Case) -> Outcome:
    return _Run(scene, case).outcome()


# ---- all of them ---------------------------------------------------------------------------------


def cases(
    releases: Sequence[str],
    kinds: Sequence[str] = (),
    contents: Sequence[str] = (),
    modes: Sequence[str] = MODES,
) -> list[Case]:
    return [
        Case(release, kind, content, mode)
        for release in releases
        for kind in kinds or KINDS
        for content, mode in itertools.product(KINDS[kind], modes or MODES)
        if not contents or content in contents
    ]


def matrix(aim: Target, chosen: Sequence[Case], lanes: int) -> list[Outcome]:
    return run_all(
        chosen,
        partial(open_scene, aim=aim),  # type: ignore[arg-type]
        run_case,  # type: ignore[arg-type]
        Outcome,
        aim.lanes(lanes),
    )


def table(outcomes: Sequence[Outcome]) -> str:
    """One line for each release and kind, and each step after which something was wrong."""
    counts = Counter((o.case.release, o.case.kind) for o in outcomes)
    lines = [f"{'release':8}{'object':24}{'cases':>7}{'steps':>8}{'wrong':>7}"]
    for (release, kind), count in counts.items():
        found = [o for o in outcomes if o.case[:2] == (release, kind)]
        steps, wrong = sum(o.steps for o in found), sum(bool(o.wrong) for o in found)
        lines.append(f"{release:8}{kind:24}{count:7}{steps:8}{wrong:7}")
    lines += wrong_lines(outcomes)
    steps, wrong = sum(o.steps for o in outcomes), sum(bool(o.wrong) for o in outcomes)
    return "\n".join([*lines, f"{len(outcomes)} objects, {steps} steps, {wrong} objects wrong"])


def main() -> int:
    parser = matrix_parser(__doc__)
    parser.add_argument("--kind", action="append", choices=list(KINDS))
    parser.add_argument("--content", action="append", default=[])
    parser.add_argument("--mode", action="append", choices=MODES)
    parser.add_argument("--first", type=int, help="only so many cases")
    options = parser.parse_args()
    aim = target(options)
    chosen = cases(aim.releases, options.kind or (), options.content, options.mode or MODES)
    lanes = options.lanes or (REAL_LANES if aim.is_real else LANES)
    outcomes = matrix(aim, chosen[: options.first], lanes)
    return exit_code(outcomes, table(outcomes))


if __name__ == "__main__":
    sys.exit(main())
