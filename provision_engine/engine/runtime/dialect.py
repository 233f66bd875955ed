"""The two dialects of oneflow: how a flow template and what is merged into it are written.

Source: the scenarios of operators' templates of the recordings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from provision_engine.cloud import template, values
from provision_engine.cloud.objects import Attributes
from provision_engine.errors import NoFlowTemplate
from provision_engine.text import one_line

Body = dict[str, Any]
"""The JSON of a flow template, of a role, or of a part of either."""


@dataclass(frozen=True)
class Dialect:
    """The keys of a role, and what else the releases that know them have in common."""

    name: str
    vm_template: str
    """Names the VM template of a role."""
    contents: str
    """A role's own attributes, in a flow template and in what is merged into it."""
    inputs: str
    """The user inputs of a flow template or a role: texts such as ``M|text|What for| |default``."""
    values: str
    """Their values, in what is merged."""
    has_text_contents: bool
    """6.x: contents are a text, and replace those of the flow template. 7.x: an object, which is
    merged into them and then into the VM template, key by key; lists are joined.
    """
    changes_lines: bool
    """Whether oneflow puts a comma before each newline in vectors, those of VM templates too."""
    has_open_clone: bool
    """Whether document.clone needs no right to the document."""

    @classmethod
    def from_version(cls, version: str) -> Dialect:
        """Return the dialect of a version such as ``6.8.0``; later releases speak as 7 does."""
        return SIX if version.split(".")[0] in ("5", "6") else SEVEN

    def operators(self, role: Body, vm_template: Attributes) -> Attributes:
        """Return what the operator says of a role's VMs: its VM template, under its contents.

        Raises NoFlowTemplate where the contents are not a template.
        """
        contents = self._contents(role)
        if self.has_text_contents:
            return vm_template | contents
        merged = {
            name: vm_template[name] | value
            for name, value in contents.items()
            if isinstance(value, dict) and isinstance(vm_template.get(name), dict)
        }
        return vm_template | contents | merged

    def merged_contents(self, role: Body, vm_template: Attributes, added: Attributes) -> Body:
        """Return what is merged into a role, so that its VMs get the attributes ``added``."""
        if self.has_text_contents:
            return {self.contents: template.render(self._contents(role) | added)}
        # oneflow 7 does not send what an empty list stands for: OpenNebula then takes it from the
        # VM template, with its newlines, or leaves it out.
        operators, contents = self.operators(role, vm_template), self._contents(role)
        emptied: Attributes = {
            n: [] for n, v in vm_template.items() if n not in contents and _has_lines(v)
        }
        replaced: Attributes = {
            name: {key: [] for key in operators[name].keys() - value.keys()} | value
            for name, value in added.items()
            if isinstance(value, dict) and isinstance(operators.get(name), dict)
        }
        return {self.contents: emptied | added | replaced}

    def joins_disks(self, role: Body) -> bool:
        """Return whether a disk that is merged into a role would be one more."""
        return not self.has_text_contents and isinstance(self._contents(role).get("DISK"), list)

    def missing_inputs(self, body: Body) -> list[str]:
        """Return the inputs and networks of a flow template or role that a person has to choose."""
        inputs, networks = _texts(body.get(self.inputs)), _texts(body.get("networks"))
        mandatory = {name: text for name, text in inputs.items() if text.startswith("M|")}
        return [name for name, text in (mandatory | networks).items() if not _default(text)]

    def replaced_names(self, body: Body) -> list[str]:
        """Return the names that oneflow replaces behind a dollar sign, wherever in contents."""
        if not self.has_text_contents:
            return []
        return [*_texts(body.get(self.inputs)), *_texts(body.get("networks"))]

    def input_values(self, body: Body) -> Body:
        """Return the defaults of user inputs: oneflow wants a value for each one in the request."""
        inputs = _texts(body.get(self.inputs))
        return {self.values: {n: _default(t) for n, t in inputs.items()}} if inputs else {}

    def _contents(self, role: Body) -> Attributes:
        contents = role.get(self.contents)
        if not self.has_text_contents:
            return _attributes(contents)
        try:
            found = template.parse(contents) if isinstance(contents, str) else {}
            template.check(found)
            return found
        except ValueError as error:
            name = one_line(values.text(role.get("name")))
            raise NoFlowTemplate(f"Role {name} of a flow template: {error}") from error


def _attributes(contents: object) -> Attributes:
    """Return the attributes in an object that a person has written; anything else is left out."""
    found: Attributes = {}
    for name, value in values.mapping(contents).items():
        several = [
            {key: str(text) for key, text in one.items()} if isinstance(one, dict) else str(one)
            for one in (value if isinstance(value, list) else [value])
            if isinstance(one, dict | str | int | float)
        ]
        if several:
            found[name.upper()] = several if isinstance(value, list) else several[0]
    return found


def _has_lines(value: object) -> bool:
    """Return whether a text in a vector, or in one of several, has more than one line."""
    vectors = [value] if isinstance(value, dict) else values.objects(value)
    return any("\n" in str(text) for vector in vectors for text in vector.values())


def _texts(body: object) -> dict[str, str]:
    return {name: text for name, text in values.mapping(body).items() if isinstance(text, str)}


def _default(description: str) -> str:
    """Return the default in ``M|text|What it is for|choices|default``; empty without one."""
    return "|".join(description.split("|")[4:]).strip()


SIX = Dialect(
    "6.x",
    vm_template="vm_template",
    contents="vm_template_contents",
    inputs="custom_attrs",
    values="custom_attrs_values",
    has_text_contents=True,
    changes_lines=False,
    has_open_clone=False,
)
SEVEN = Dialect(
    "7.x",
    vm_template="template_id",
    contents="template_contents",
    inputs="user_inputs",
    values="user_inputs_values",
    has_text_contents=False,
    changes_lines=True,
    has_open_clone=True,
)
DIALECTS = (SEVEN, SIX)
"""A role is read in the first that it matches."""
