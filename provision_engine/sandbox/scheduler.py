"""Which host a VM gets: capacity, ``SCHED_REQUIREMENTS`` and ``SCHED_RANK``.

Requirements are expressions like ``FREE_CPU > 10 & !(NAME = "host00")``; an attribute that a host
does not have matches nothing (scenario pending-unsatisfiable-requirements: ``ENERGY=50``).
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from fnmatch import fnmatchcase

from provision_engine.sandbox.lifecycle import PENDING, Lifecycle, in_words, position_of
from provision_engine.sandbox.store import Host, Store, Vm

_TOKEN = re.compile(r'\s*(?:"[^"]*"|!=|=~|@>|[=<>!&|()]|[^\s!=<>&|()"]+)')
_SIGNS = ("=", "!=", "<", ">", "=~", "@>")
_Test = Callable[[dict[str, str]], bool]


class ExpressionError(ValueError):
    """An expression that cannot be read."""


def host_attributes(host: Host) -> dict[str, str]:
    """What requirements and ranks may ask of a host."""
    return {
        "ID": str(host.id),
        "NAME": host.name,
        "HOSTNAME": host.name,
        "CLUSTER": "default",
        "CLUSTER_ID": "0",
        "HYPERVISOR": "dummy",
        "MAX_CPU": str(host.cpu_percent),
        "TOTAL_CPU": str(host.cpu_percent),
        "FREE_CPU": f"{host.cpu_percent - host.used_cpu_percent:g}",
        "USED_CPU": f"{host.used_cpu_percent:g}",
        "MAX_MEM": str(host.memory_kb),
        "TOTAL_MEMORY": str(host.memory_kb),
        "FREE_MEMORY": str(host.memory_kb - host.used_memory_kb),
        "FREE_MEM": str(host.memory_kb - host.used_memory_kb),
    } | host.attributes


def compile_requirements(expression: str) -> _Test:
    """The test an expression stands for; ExpressionError if it is none."""
    if not expression.strip():
        return lambda _: True
    return _Expression(expression).parse()


class _Expression:
    def __init__(self, text: str) -> None:
        self._tokens: list[str] = []
        position = 0
        while position < len(text.rstrip()):
            match = _TOKEN.match(text, position)
            if match is None:
                raise ExpressionError(text)
            self._tokens.append(match[0].strip())
            position = match.end()

    def parse(self) -> _Test:
        test = self._or()
        if self._tokens:
            raise ExpressionError(self._tokens[0])
        return test

    def _take(self) -> str:
        if not self._tokens:
            raise ExpressionError("the expression ends too early")
        return self._tokens.pop(0)

    def _or(self) -> _Test:
        left = self._and()
        if self._tokens and self._tokens[0] == "|":
            self._take()
            right = self._or()
            return lambda host: left(host) or right(host)
        return left

    def _and(self) -> _Test:
        left = self._not()
        if self._tokens and self._tokens[0] == "&":
            self._take()
            right = self._and()
            return lambda host: left(host) and right(host)
        return left

    def _not(self) -> _Test:
        token = self._take()
        if token == "!":
            inner = self._not()
            return lambda host: not inner(host)
        if token == "(":
            inner = self._or()
            if self._take() != ")":
                raise ExpressionError("a closing parenthesis is missing")
            return inner
        return self._comparison(token)

    def _comparison(self, name: str) -> _Test:
        sign = self._take()
        if sign not in _SIGNS:
            raise ExpressionError(sign)
        wanted = self._take().strip('"')
        key = name.strip('"').upper()
        return lambda host: key in host and _compare(host[key], sign, wanted)


_NUMERIC: dict[str, Callable[[float, float], bool]] = {
    "=": operator.eq, "!=": operator.ne, "<": operator.lt, ">": operator.gt,
}  # fmt: skip


def _compare(found: str, sign: str, wanted: str) -> bool:
    if sign in _NUMERIC:
        try:
            return _NUMERIC[sign](float(found), float(wanted))
        except ValueError:
            pass
    if sign in ("=", "=~"):
        return fnmatchcase(found, wanted)
    if sign == "@>":
        return wanted in found.split(",")
    return sign == "!=" and not fnmatchcase(found, wanted)


def has_room(host: Host, cpu: float, memory_mb: int) -> bool:
    """Does a host have that many cores and MB left?"""
    return (
        host.used_cpu_percent + cpu * 100 <= host.cpu_percent
        and host.used_memory_kb + memory_mb * 1024 <= host.memory_kb
    )


class Scheduler:
    """Looks at pending VMs whenever something has changed that may help them."""

    def __init__(self, store: Store, lifecycle: Lifecycle) -> None:
        self._store = store
        self._lifecycle = lifecycle
        self._waiting: set[int] = set()

    def watch(self, vm: Vm) -> None:
        """Remembers which VMs wait for a host."""
        if position_of(vm) == PENDING:
            self._waiting.add(vm.id)
        else:
            self._waiting.discard(vm.id)

    def waiting(self) -> list[int]:
        """The VMs that wait for a host."""
        return sorted(self._waiting)

    def wait_again(self, vm_ids: list[int]) -> None:
        """Takes over who waits, when a state is loaded."""
        self._waiting = set(vm_ids)

    def run(self) -> None:
        """One cycle: each pending VM in the order of ids gets its best host or a message."""
        placed = 0
        for vm_id in sorted(self._waiting):
            vm = self._store.vms.find(vm_id)
            if vm is not None and position_of(vm) == PENDING and self._place(vm):
                vm.history[-1].plan_action_id = placed
                placed += 1

    def _place(self, vm: Vm) -> bool:
        required = vm.user_template.text("SCHED_REQUIREMENTS") or ""
        try:
            test = compile_requirements(required)
        except ExpressionError:
            test = _nothing
        fitting = [
            (host, attributes)
            for host in self._store.hosts
            if has_room(host, vm.cpu, vm.memory_mb) and test(attributes := host_attributes(host))
        ]
        if not fitting:
            self._complain(vm, required)
            return False
        rank = (vm.user_template.text("SCHED_RANK") or "FREE_CPU").strip().upper()
        best = max(fitting, key=lambda pair: (_number(pair[1].get(rank, "0")), -pair[0].id))
        vm.user_template.remove("SCHED_MESSAGE")
        self._lifecycle.deploy(vm, best[0])
        return True

    def _complain(self, vm: Vm, required: str) -> None:
        everything = self._store.release.automatic_requirements
        if required:
            everything += f" & ( {required} )"
        stamp = in_words(self._store.agenda.now())
        vm.user_template.set(
            "SCHED_MESSAGE",
            f"{stamp}: Cannot dispatch VM: No host meets capacity and SCHED_REQUIREMENTS:"
            f" {everything}",
        )
        vm.changed()


def _nothing(_: dict[str, str]) -> bool:
    return False


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
