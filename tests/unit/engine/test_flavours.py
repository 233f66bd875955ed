"""Flavour tuple → flow template and its roles, and how they are cached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from provision_engine.cloud.client import Credentials
from provision_engine.cloud.objects import Document
from provision_engine.deadline import Deadline
from provision_engine.engine.flavours import MAX_CHARACTERS, Flavours
from provision_engine.engine.memory import Memory
from provision_engine.engine.runtime.flow_template import FlowRole, FlowTemplate
from provision_engine.engine.runtime.model import Function
from provision_engine.engine.runtime.specification import Specification
from provision_engine.errors import (
    BackendTimeout,
    BadGateway,
    EngineError,
    Forbidden,
    NoFlowTemplate,
)
from tests.unit.engine.opennebula import OpenNebula
from tests.unit.support import OWNER, document

ME = Credentials("devuser", "devpass")


def flow(
    id_: int, name: str, *roles: str, dialect: str = "vm_template", owner: int = 0, group: int = 0
) -> Document:
    """A flow template; by default one of oneadmin, whom everybody trusts."""
    body = {"roles": [{"name": role, dialect: place} for place, role in enumerate(roles)]}
    made = document(body, id_=id_, name=name, type_=101)
    return replace(made, user_id=owner, group_id=group, user_name=f"user{owner}")


def of(
    oned: OpenNebula,
    mapping: dict[str, int] | None = None,
    memory: Memory | None = None,
    allowed: Sequence[str | int] = (),
) -> Flavours:
    cloud: Any = oned
    memory = memory or Memory(10)
    remembered = memory.for_login(memory.login(ME))
    return Flavours(cloud, remembered, mapping or {}, allowed, memory.publishers)


def wanted(faas: str = "nature", daas: str = "") -> Specification:
    flavours = {"FAAS": faas} | ({"DAAS": daas} if daas else {})
    return Specification(
        functions={role: Function(flavour) for role, flavour in flavours.items()},
    )


def test_the_mapping_takes_precedence_over_the_name() -> None:
    oned = OpenNebula(flow(3, "nature", "FAAS"), flow(8, "another", "FAAS"))
    assert of(oned, {"nature": 8}).flow_template(wanted()).id == 8
    assert of(oned, {"other": 8}).flow_template(wanted()).id == 3


def test_the_oldest_of_several_templates_with_one_name_is_used() -> None:
    oned = OpenNebula(flow(9, "nature", "new"), flow(3, "nature", "old"))
    assert of(oned).flow_template(wanted()).id == 3


@pytest.mark.parametrize("mapped", [77, 50])
def test_a_wrong_mapping_is_reported_in_the_same_way(mapped: int) -> None:
    oned = OpenNebula(flow(3, "nature", "FAAS"), document({}, id_=50, type_=100))
    with pytest.raises(NoFlowTemplate) as caught:
        of(oned, {"nature": mapped}).flow_template(wanted())
    assert caught.value.message == {"FAAS": {"FLAVOUR": "nature"}}


def test_a_mapped_template_that_the_user_may_not_use_is_forbidden() -> None:
    oned = OpenNebula(flow(3, "nature", "FAAS"))
    oned.hidden = {3}
    with pytest.raises(Forbidden):
        of(oned, {"nature": 3}).flow_template(wanted())


@pytest.mark.parametrize("roles", [[], ["FAAS"], ["only"]])
def test_a_flow_template_with_too_few_roles_does_not_match(roles: list[str]) -> None:
    with pytest.raises(NoFlowTemplate):
        FlowTemplate.from_document(flow(1, "t", *roles)).assign(wanted("nature", "s3"))


@pytest.mark.parametrize(
    "roles",
    [
        *(5, None, "x", {}, [5], [None], [[[]]], [{}]),
        *([{"vm_template": template_id}] for template_id in (None, "x")),
        *([{"template_id": template_id}] for template_id in ([], "²", "9" * 5000, 2**70, True)),
    ],
)
def test_a_flow_template_whose_roles_cannot_be_read_is_not_deployable(roles: object) -> None:
    with pytest.raises(NoFlowTemplate):
        FlowTemplate.from_document(document({"roles": roles}, type_=101))


# ---- whose templates count ----------------------------------------------------------------

STRANGER, ALICE = 7, 8
BY_STRANGER = flow(1, "nature", "evil", owner=STRANGER, group=1)
BY_ALICE = flow(5, "nature", "FAAS", owner=ALICE, group=1)
BY_ADMINISTRATOR = flow(6, "nature", "FAAS", owner=ALICE, group=0)
OWN = flow(2, "nature", "FAAS", owner=OWNER, group=1)
NAMED_AS_AN_ID = replace(BY_STRANGER, user_name=str(ALICE))


@pytest.mark.parametrize(
    ("templates", "allowed", "counts"),
    [
        # Row 1: a stranger's script would run with the caller's password.
        ([BY_STRANGER], [], None),
        ([BY_STRANGER, flow(3, "nature", "FAAS")], [], 3),
        ([BY_ALICE], [], None),
        ([BY_ALICE], [ALICE], 5),
        ([BY_ALICE], [f"user{ALICE}"], 5),
        ([NAMED_AS_AN_ID], [ALICE], None),
        ([BY_ADMINISTRATOR], [], 6),
        # The caller's own, after those of publishers.
        ([OWN], [], 2),
        ([OWN, flow(9, "nature", "FAAS")], [], 9),
    ],
)
def test_only_templates_of_publishers_and_the_callers_own_count(
    templates: list[Document], allowed: list[int | str], counts: int | None
) -> None:
    flavours = of(OpenNebula(*templates), allowed=allowed)
    if counts is None:
        with pytest.raises(NoFlowTemplate):
            flavours.flow_template(wanted())
    else:
        assert flavours.flow_template(wanted()).id == counts


@pytest.mark.parametrize("allowed", [[], [ALICE], [f"user{ALICE}"]])
def test_what_strangers_publish_costs_nothing_once_the_publishers_are_known(
    allowed: list[int | str],
) -> None:
    """Row 7: also those of strangers who published first."""
    strangers = [flow(n, f"x{n}", "FAAS", owner=STRANGER, group=1) for n in range(2000)]
    alice = flow(2001, "s3", "FAAS", owner=ALICE, group=1)
    oned, memory = OpenNebula(*strangers, flow(2002, "nature", "FAAS"), alice), Memory()
    of(oned, allowed=allowed, memory=memory).flow_template(wanted())
    oned.read_documents = 0
    of(oned, allowed=allowed, memory=memory).flow_template(wanted())
    assert oned.read_documents <= 2


def test_every_template_that_the_caller_may_use_is_found_in_few_calls() -> None:
    ids = [0, 255, 256, 257, 1279, 1280, 5000]
    oned = OpenNebula(*(flow(n, f"x{n}", "FAAS", owner=n % 2 * STRANGER, group=1) for n in ids))
    published, others = of(oned).usable()
    assert [found.id for found in published] == [n for n in ids if n % 2 == 0]
    assert [found.id for found in others] == [n for n in ids if n % 2]
    assert len(oned.reads) == 4  # for the newest, and for three ranges
    assert of(OpenNebula()).usable() == ([], [])
    first_of_a_range = flow(256, "x", "FAAS")
    assert of(OpenNebula(first_of_a_range)).usable() == ([first_of_a_range], [])


@pytest.mark.parametrize("error", [BackendTimeout("slow"), BadGateway("too long")])
def test_a_part_that_takes_too_long_hides_no_other(error: EngineError) -> None:
    oned, documents = OpenNebula(*(flow(n, f"x{n}", "FAAS") for n in (3, 300, 1300))), []
    read = oned.documents

    def documents_in_time(type_: int, whose: int = -2, **ids: int) -> list[Document]:
        documents.append(ids.get("last_id", -1) - ids.get("first_id", -1) + 1)
        if ids.get("first_id") == 256:
            raise error
        return read(type_, whose, **ids)

    oned.documents = documents_in_time  # type: ignore[method-assign,assignment]
    published, _ = of(oned).usable()
    assert [found.id for found in published] == [3, 1300]
    assert documents[:4] == [1, 256, 1024, 256], "the next part is smaller"
    oned.deadline = Deadline(0)
    assert of(oned).usable() == ([], [])


def test_large_templates_are_read_in_smaller_parts() -> None:
    large = replace(flow(3, "x", "FAAS"), body_text="x" * (MAX_CHARACTERS + 1))
    oned, seen = OpenNebula(large, flow(300, "y", "FAAS")), []
    read = oned.documents
    oned.documents = lambda *kind, **ids: seen.append(ids) or read(*kind, **ids)  # type: ignore
    of(oned).usable()
    assert seen[2] == {"first_id": 256, "last_id": 319}


def test_whose_templates_count_is_told_by_opennebula_each_time() -> None:
    oned, memory = OpenNebula(flow(5, "nature", "FAAS", owner=ALICE, group=1)), Memory()
    assert of(oned, memory=memory, allowed=["user8"]).flow_template(wanted()).id == 5
    oned.pool[5] = replace(oned.pool[5], user_name="another")
    with pytest.raises(NoFlowTemplate):
        of(oned, memory=memory, allowed=["user8"]).flow_template(wanted())


def test_the_operator_is_told_of_a_template_whose_owner_is_no_publisher(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(NoFlowTemplate) as caught:
        of(OpenNebula(flow(5, "nature", "FAAS", owner=ALICE, group=1))).flow_template(wanted())
    assert caught.value.message == {"FAAS": {"FLAVOUR": "nature"}}
    assert "Flow template 5" in caplog.text
    assert "user8" in caplog.text
    assert "flavours.publishers" in caplog.text


# ---- what is remembered -----------------------------------------------------------------


def test_opennebula_is_called_once_within_the_cache_time() -> None:
    oned, memory = OpenNebula(flow(3, "nature", "FAAS")), Memory(10)
    for _ in range(3):
        of(oned, memory=memory).flow_template(wanted())
        of(oned, memory=memory).vm_template(FlowRole("A", 0))
    assert oned.reads == ["documents of 0", "VM template 0"]


def test_a_template_that_was_published_since_is_found() -> None:
    oned, memory = OpenNebula(flow(3, "nature", "FAAS")), Memory(10)
    of(oned, memory=memory).flow_template(wanted())
    oned.pool[4] = flow(4, "new", "FAAS")
    assert of(oned, memory=memory).flow_template(wanted("new")).id == 4
