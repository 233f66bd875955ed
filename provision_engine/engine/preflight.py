"""Which flavours one caller can deploy, and what prevents the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TypeVar

from provision_engine.cloud.objects import Attributes, Document, VmTemplate
from provision_engine.engine import quota
from provision_engine.engine.context import Context
from provision_engine.engine.runtime import sizes
from provision_engine.engine.runtime.dialect import Dialect
from provision_engine.engine.runtime.flow_template import FlowTemplate
from provision_engine.engine.runtime.model import Function
from provision_engine.engine.runtime.specification import Specification
from provision_engine.errors import BadGateway, CapacityRefused, Forbidden, NoFlowTemplate, NotFound

T = TypeVar("T")
PARTS = {
    "DISK": "DISK_SIZE has no effect: add the image of the function as a DISK",
    "NIC": "ENDPOINT stays empty: add a NIC in a network that devices reach",
    "CONTEXT": "the VM learns neither its network nor SR_AUTH: add CONTEXT=[NETWORK=YES]",
}
"""Parts that a VM template should hold, and the effect of their lack."""
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
        """Return a finding that prevents no create."""
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
    """By role, with the default sizes."""
    findings: tuple[Finding, ...] = ()

    @property
    def is_deployable(self) -> bool:
        """Return whether a create would find nothing that prevents it."""
        return not any(finding.is_fatal for finding in self.findings)


class Inspector:
    """Inspects flavours on behalf of one caller; changes nothing, and reads a template once."""

    def __init__(self, context: Context) -> None:
        self._context, self._cloud = context, context.cloud
        self._configuration = context.configuration
        self.user = self._cloud.credentials.user
        self.version = self._cloud.oned.version()
        self.dialect = Dialect.from_version(self.version)
        self._vm_template = cache(self._look_up)

    def inspect_oned(self) -> Iterator[Finding]:
        """Yield what is odd about the configuration of oned."""
        if self._cloud.oned.lists_oldest_first():
            yield Finding.note(
                "it lists the oldest objects first, so a page of runtimes takes the longer the "
                "more there are",
                'set API_LIST_ORDER="DESC" in oned.conf, which is the default',
            )
        if self._configuration.sr_auth and (who := self._readers_of_sr_auth()):
            text = f"{who} can read the SR_AUTH of {self.user}"
            yield Finding.note(text, "see SR_AUTH in docs/security.md")

    def _readers_of_sr_auth(self) -> str:
        """Return who reads others' CONTEXT whatever the permissions are; empty if none is known."""
        if self.dialect.has_open_clone:
            return "every user of this OpenNebula"
        # Before 6.10.4 a pool with the filter -4 shows all VMs of the caller's group.
        if [*map(int, self.version.split(".")[:3])] >= [6, 10, 4]:
            return ""
        others = self._cloud.oned.group_size() - 1
        return f"{others} more users in the same group" if others else ""

    def inspect(self) -> list[Preflight]:
        """Return the flavours of the mapping, then those of flow templates, each sorted by name."""
        mapping, by_name = self._configuration.mapping, self._context.flavours.by_name()
        mapped = [self._mapped(flavours, mapping[flavours]) for flavours in sorted(mapping)]
        names = sorted(by_name.keys() - mapping.keys())
        return mapped + [self._inspect(name, by_name[name]) for name in names]

    def inspect_strangers(self) -> Iterator[Finding]:
        """Yield the first usable templates that are not flavours, because of their owners."""
        _, others = self._context.flavours.usable()
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

    def _inspect(self, flavours: str, document: Document, is_mapped: bool = False) -> Preflight:
        """Inspect a flavour tuple and the flow template for it."""
        owner = document.user_name
        try:
            template = FlowTemplate.from_document(document)
            specification = Specification.from_flavours(flavours, template.role_names)
            assigned = template.assign(specification)
        except (BadGateway, NoFlowTemplate, NotFound) as error:
            hint = "give the flow template a role FAAS, and DAAS for data, each with a VM template"
            finding = Finding(str(error.message), hint)
            return Preflight(flavours, document.id, owner, is_mapped, findings=(finding,))
        findings = [*self._check_dialect(template)]
        try:
            template.check_inputs(self.dialect)
        except NoFlowTemplate as error:
            hint = "write a default into it: M|text|What it is for| |default"
            findings.append(Finding(str(error.message), hint))
        if document.others_may_change:
            findings.append(_writable(f"flow template {document.id}"))
        functions = {}
        for role, flow_role in assigned.items():
            found = self._vm_template(flow_role.vm_template_id)
            if isinstance(found, Finding):
                findings.append(Finding(f"{role}: {found.text}", found.hint))
                continue
            try:
                operators = self.dialect.operators(flow_role.body, found.attributes)
            except NoFlowTemplate as error:
                hint = "write the role's contents in OpenNebula's template syntax"
                findings.append(Finding(str(error.message), hint))
                continue
            requested, capacity = specification.functions[role], self._configuration.capacity
            functions[role] = requested.sized(operators, capacity)
            findings += _check_vm_template(role, found, operators)
        if len(functions) == len(assigned):
            try:
                quota.check_new(self._cloud, list(functions.values()))
            except CapacityRefused as error:
                hint = "delete a runtime, or have the quota raised"
                findings.append(Finding(str(error.message), hint))
        return Preflight(flavours, document.id, owner, is_mapped, functions, tuple(findings))

    def _mapped(self, flavours: str, template_id: int) -> Preflight:
        hint = f"correct mapping.{flavours} in engine.conf, or publish the template"
        found = _read(self._cloud.oned.document, "flow template", template_id, hint, hint)
        if isinstance(found, Finding):
            return Preflight(flavours, template_id, "", True, findings=(found,))
        return self._inspect(flavours, found, is_mapped=True)

    def _check_dialect(self, template: FlowTemplate) -> Iterator[Finding]:
        """Find roles for the other dialect, which oneflow accepts and then cannot deploy."""
        known = self.dialect.vm_template
        for role in template.roles:
            if self.dialect not in role.dialects:
                yield Finding(
                    f"role {role.name} has no {known}: it was made for another release",
                    f"write the VM template's id as {known} into the flow template, "
                    f"as OpenNebula {self.version} wants it",
                )

    def _look_up(self, template_id: int) -> VmTemplate | Finding:
        missing = "name another VM template in the flow template"
        forbidden = f"allow its use: onetemplate chmod {template_id} 644"
        return _read(self._cloud.oned.vm_template, "VM template", template_id, missing, forbidden)


def list_flavours(context: Context) -> list[Preflight]:
    """Return the flavours as the caller would get them, from the cache if it has them."""
    context.check_login()
    return context.remembered.cached("preflight", lambda: Inspector(context).inspect())


def _writable(name: str) -> Finding:
    text = f"{name} can be changed by users who do not own it, and so can what runs in its VMs"
    return Finding.note(text, "remove their permission MANAGE: chmod 644")


def _check_vm_template(role: str, template: VmTemplate, operators: Attributes) -> Iterator[Finding]:
    if template.others_may_change:
        yield _writable(f"{role}: VM template {template.id} ({template.name})")
    for part, meaning in PARTS.items():
        if not sizes.vectors(operators, part):
            text = f"{role}: VM template {template.id} ({template.name}) has no {part}"
            yield Finding.note(text, meaning)


def _read(
    read: Callable[[int], T], kind: str, number: int, if_missing: str, if_forbidden: str
) -> T | Finding:
    """Return a template, or what prevents its use, with a hint."""
    try:
        return read(number)
    except NotFound:
        return Finding(f"there is no {kind} {number}", if_missing)
    except Forbidden:
        return Finding(f"{kind} {number} may not be used by this user", if_forbidden)
