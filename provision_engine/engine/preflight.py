"""Which flavours one caller can deploy, and what prevents the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from provision_engine.cloud.objects import Document, VmTemplate
from provision_engine.engine import quota
from provision_engine.engine.context import Context
from provision_engine.engine.flavours import FlowTemplate
from provision_engine.engine.runtime import sizes
from provision_engine.engine.runtime.dialect import Dialect, FlowRole
from provision_engine.engine.runtime.model import ROLES, Function
from provision_engine.engine.runtime.specification import RequestedFunction, Specification
from provision_engine.errors import (
    BadGateway,
    CapacityRefused,
    Forbidden,
    NoFlowTemplate,
    NotFound,
)

PARTS = {
    "DISK": "DISK_SIZE has no effect: add the image of the function as a DISK",
    "NIC": "ENDPOINT stays empty: add a NIC in a network that devices reach",
    "CONTEXT": "the VM learns neither its network nor SR_AUTH: add CONTEXT=[NETWORK=YES]",
}
"""What a VM template should hold, and what its lack means."""
MAX_STRANGERS = 20


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be, and its remedy."""

    text: str
    hint: str
    is_fatal: bool = True
    """Whether a create fails because of it."""

    @classmethod
    def note(cls, text: str, hint: str) -> Finding:
        return cls(text, hint, is_fatal=False)


@dataclass(frozen=True)
class Preflight:
    """One flavour tuple, as one caller would get it."""

    flavours: str
    template_id: int
    owner: str
    """The name of the user who owns the template."""
    is_mapped: bool
    """Whether engine.conf names the template; else it is found by its name."""
    functions: Mapping[str, Function] = field(default_factory=dict)
    """By role, with the sizes of a request that asks for none."""
    findings: tuple[Finding, ...] = ()

    @property
    def is_deployable(self) -> bool:
        return not any(finding.is_fatal for finding in self.findings)


class Inspector:
    """Looks at flavours on behalf of one caller. Changes nothing, and keeps what it has seen."""

    def __init__(self, context: Context) -> None:
        self._context, self._cloud = context, context.cloud
        self._configuration = context.configuration
        self.user = self._cloud.credentials.user
        self.version = self._cloud.oned.version()
        self.dialect = Dialect.from_version(self.version)
        self._vm_template = cache(self._look_up)

    def of_oned(self) -> Iterator[Finding]:
        """What is odd about the configuration of oned."""
        if self._cloud.oned.lists_oldest_first():
            yield Finding.note(
                "it lists the oldest objects first, so a page of runtimes takes the longer the "
                "more there are",
                'set API_LIST_ORDER="DESC" in oned.conf, which is the default',
            )
        if self._configuration.context.sr_auth and (who := self._readers_of_sr_auth()):
            text = f"{who} can read the SR_AUTH of {self.user}"
            yield Finding.note(text, "see SR_AUTH in docs/security.md")

    def _readers_of_sr_auth(self) -> str:
        """Who reads others' CONTEXT whatever the permissions are; empty if nobody is known to."""
        if self.dialect.has_open_clone:
            return "every user of this OpenNebula"
        # Before 6.10.4 a pool with the filter -4 shows all VMs of the caller's group.
        if [*map(int, self.version.split(".")[:3])] >= [6, 10, 4]:
            return ""
        others = self._cloud.oned.group_size() - 1
        return f"{others} more users in the same group" if others else ""

    def inspect(self) -> list[Preflight]:
        """Every flavour of the mapping, then every flow template that counts, sorted by name."""
        mapping, by_name = self._configuration.mapping, self._context.flavours.by_name()
        mapped = [self._mapped(flavours, mapping[flavours]) for flavours in sorted(mapping)]
        names = sorted(by_name.keys() - mapping.keys())
        return mapped + [self.of_template(name, by_name[name]) for name in names]

    def of_strangers(self) -> Iterator[Finding]:
        """Which usable templates are no flavours, because of their owners; the first of them."""
        _, others = self._context.publishers.usable()
        strangers = [d for d in others if d.user_id != self._context.user().id]
        for template in strangers[:MAX_STRANGERS]:
            yield Finding.note(
                f"flow template {template.id} ({template.name}) of {template.user_name} is not a "
                "flavour: its owner is not a publisher",
                f"if you trust {template.user_name}, add the name to flavours.publishers",
            )
        if len(strangers) > MAX_STRANGERS:
            text = f"{len(strangers) - MAX_STRANGERS} more flow templates are not flavours"
            yield Finding.note(text, "their owners are not publishers")

    def of_template(self, flavours: str, document: Document, is_mapped: bool = False) -> Preflight:
        """A flavour tuple that this flow template is for."""
        owner = document.user_name
        try:
            template = FlowTemplate.from_document(document)
            specification = specified(flavours, template.roles)
            assigned = template.assign(specification)
        except (BadGateway, NoFlowTemplate, NotFound) as error:
            hint = "give the flow template a role FAAS, and DAAS for data, each with a VM template"
            finding = Finding(str(error.message), hint)
            return Preflight(flavours, document.id, owner, is_mapped, findings=(finding,))
        findings = [*self._of_dialect(template)]
        if document.others_may_change:
            findings.append(_writable(f"flow template {document.id}"))
        functions = {}
        for role, flow_role in assigned.items():
            found = self._vm_template(flow_role.vm_template_id)
            if isinstance(found, Finding):
                findings.append(Finding(f"{role}: {found.text}", found.hint))
                continue
            requested, capacity = specification.functions[role], self._configuration.capacity
            functions[role] = requested.sized(found.attributes, capacity)
            findings += _of_vm_template(role, found)
        if len(functions) == len(assigned):
            findings += self._of_quota(list(functions.values()))
        return Preflight(flavours, document.id, owner, is_mapped, functions, tuple(findings))

    def _mapped(self, flavours: str, template_id: int) -> Preflight:
        what = f"flow template {template_id}"
        hint = f"correct mapping.{flavours} in engine.conf, or publish the template"
        try:
            document = self._cloud.oned.document(template_id)
        except NotFound:
            finding = Finding(f"there is no {what}", hint)
        except Forbidden:
            finding = _forbidden(what, hint)
        else:
            return self.of_template(flavours, document, is_mapped=True)
        return Preflight(flavours, template_id, "", True, findings=(finding,))

    def _of_dialect(self, template: FlowTemplate) -> Iterator[Finding]:
        """oneflow accepts a template made for the other dialect, and then cannot deploy it."""
        known = self.dialect.vm_template
        for role in template.roles:
            if self.dialect not in role.dialects:
                yield Finding(
                    f"role {role.name} has no {known}: it was made for another release",
                    f"write the VM template's id as {known} into the flow template, "
                    f"as OpenNebula {self.version} wants it",
                )

    def _look_up(self, template_id: int) -> VmTemplate | Finding:
        what, hint = f"VM template {template_id}", "name another VM template in the flow template"
        try:
            return self._cloud.oned.vm_template(template_id)
        except NotFound:
            return Finding(f"there is no {what}", hint)
        except Forbidden:
            return _forbidden(what, f"allow its use: onetemplate chmod {template_id} 644")

    def _of_quota(self, functions: Sequence[Function]) -> Iterator[Finding]:
        try:
            quota.check_new(self._cloud, functions)
        except CapacityRefused as error:
            yield Finding(str(error.message), "delete a runtime, or have the quota raised")


def list_flavours(context: Context) -> list[Preflight]:
    """Return the flavours as the caller would get them, from the cache if it has them."""
    context.check_login()
    return context.remembered.cached("preflight", lambda: Inspector(context).inspect())


def specified(flavours: str, flow_roles: Sequence[FlowRole]) -> Specification:
    """A request for a flavour tuple that asks for nothing else."""
    names = zip(ROLES, split(flavours, [role.name for role in flow_roles]), strict=False)
    return Specification(functions={role: RequestedFunction(flavour) for role, flavour in names})


def split(flavours: str, role_names: Sequence[str]) -> list[str]:
    """The flavours in a tuple. A flavour may hold a dash, so the template's roles decide.

    Whatever is chosen joins to the same tuple again, and so finds the same template.
    """
    parts = flavours.split("-")
    pairs = [["-".join(parts[:n]), "-".join(parts[n:])] for n in range(1, len(parts))]
    pairs = [pair for pair in pairs if all(pair)]
    if len(role_names) < 2 or not pairs:
        return [flavours]
    known = {name.upper() for name in role_names}
    return next((pair for pair in pairs if {p.upper() for p in pair} <= known), pairs[-1])


def _writable(what: str) -> Finding:
    text = f"{what} can be changed by users who do not own it, and so can what runs in its VMs"
    return Finding.note(text, "remove their permission MANAGE: chmod 644")


def _of_vm_template(role: str, template: VmTemplate) -> Iterator[Finding]:
    if template.others_may_change:
        yield _writable(f"{role}: VM template {template.id} ({template.name})")
    for part, meaning in PARTS.items():
        if not sizes.vectors(template.attributes, part):
            text = f"{role}: VM template {template.id} ({template.name}) has no {part}"
            yield Finding.note(text, meaning)


def _forbidden(what: str, hint: str) -> Finding:
    return Finding(f"{what} may not be used by this user", hint)
