"""Flavour tuple → flow template and its roles, and what is remembered of them."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from provision_engine.cloud.client import Credentials
from provision_engine.cloud.objects import VmTemplate
from provision_engine.engine import flavours
from provision_engine.engine.flavours import Cache, Flavours, FlowTemplate
from provision_engine.engine.specification import Specification
from provision_engine.errors import (
    BackendTimeout,
    BadGateway,
    Forbidden,
    NoFlowTemplate,
    NotFound,
)
from tests.unit.support import document

ME, OTHER = Credentials("devuser", "devpass"), Credentials("other", "otherpass")


def flow(id_: int, name: str, *roles: str, dialect: str = "vm_template") -> Any:
    body = {"roles": [{"name": role, dialect: place} for place, role in enumerate(roles)]}
    return document(body, id_=id_, name=name, type_=101)


class Oned:
    """What the tests need of oned; it counts what it was asked."""

    def __init__(self, *documents: Any) -> None:
        self.held = {d.id: d for d in documents}
        self.asked: list[str] = []

    def documents(self, document_type: int, whose: int = -2) -> list[Any]:
        self.asked.append("documents")
        return [d for d in self.held.values() if d.type == document_type]

    def document(self, document_id: int) -> Any:
        self.asked.append(f"document {document_id}")
        if document_id == 403:
            raise Forbidden("no")
        if document_id not in self.held:
            raise NotFound("no such document")
        return self.held[document_id]

    def vm_template(self, template_id: int) -> VmTemplate:
        self.asked.append(f"VM template {template_id}")
        if template_id == 999:
            raise NotFound("no such template")
        return VmTemplate(template_id, "t", {"CPU": str(template_id)})


def of(oned: Oned, mapping: dict[str, int] | None = None, cache: Cache | None = None) -> Flavours:
    cloud: Any = SimpleNamespace(oned=oned, credentials=ME)
    return Flavours(cloud, cache or Cache(10), mapping or {})


def wanted(faas: str = "nature", daas: str = "") -> Specification:
    sent = {"FAAS": {"FLAVOUR": faas}} | ({"DAAS": {"FLAVOUR": daas}} if daas else {})
    return Specification.of(sent)


def test_a_flow_template_is_found_by_the_name_of_the_tuple() -> None:
    oned = Oned(flow(3, "nature", "FAAS"), flow(4, "nature-s3", "FAAS", "DAAS"))
    assert of(oned).flow_template(wanted()).id == 3
    assert of(oned).flow_template(wanted("nature", "s3")).id == 4


def test_the_mapping_comes_before_the_name() -> None:
    oned = Oned(flow(3, "nature", "FAAS"), flow(8, "another", "FAAS"))
    assert of(oned, {"nature": 8}).flow_template(wanted()).id == 8
    assert of(oned, {"other": 8}).flow_template(wanted()).id == 3


def test_of_several_templates_with_one_name_the_oldest_is_taken() -> None:
    oned = Oned(flow(9, "nature", "new"), flow(3, "nature", "old"))
    assert of(oned).flow_template(wanted()).id == 3


def test_no_template_of_that_name_is_told_with_faas_and_daas_as_they_were_sent() -> None:
    specification = Specification.of(
        {"FAAS": {"FLAVOUR": "x", "MORE": 1}, "DAAS": {"FLAVOUR": "y"}}
    )
    with pytest.raises(NoFlowTemplate) as caught:
        of(Oned(flow(3, "nature", "FAAS"))).flow_template(specification)
    assert caught.value.status == 422
    assert caught.value.message == {"FAAS": {"FLAVOUR": "x", "MORE": 1}, "DAAS": {"FLAVOUR": "y"}}


@pytest.mark.parametrize("mapped", [77, 50])
def test_a_mapping_to_nothing_or_to_another_document_is_the_same(mapped: int) -> None:
    oned = Oned(flow(3, "nature", "FAAS"), document({}, id_=50, type_=100))
    with pytest.raises(NoFlowTemplate) as caught:
        of(oned, {"nature": mapped}).flow_template(wanted())
    assert caught.value.message == {"FAAS": {"FLAVOUR": "nature"}}


def test_a_mapped_template_that_the_user_may_not_use_is_forbidden() -> None:
    with pytest.raises(Forbidden):
        of(Oned(flow(3, "nature", "FAAS")), {"nature": 403}).flow_template(wanted())


def test_a_user_who_may_use_no_template_at_all_is_forbidden() -> None:
    with pytest.raises(Forbidden):
        of(Oned()).flow_template(wanted())


@pytest.mark.parametrize(
    ("roles", "assigned"),
    [
        (["FAAS", "DAAS"], ["FAAS", "DAAS"]),
        (["DAAS", "FAAS"], ["FAAS", "DAAS"]),
        (["daas", "Faas"], ["Faas", "daas"]),
        (["S3", "Nature"], ["Nature", "S3"]),
        (["first", "second"], ["first", "second"]),
        (["first", "s3"], ["first", "s3"]),
        (["FAAS", "other"], ["FAAS", "other"]),
        (["FAAS", "DAAS", "more"], ["FAAS", "DAAS"]),
    ],
)
def test_roles_are_found_by_name_else_by_flavour_else_by_position(
    roles: list[str], assigned: list[str]
) -> None:
    found = FlowTemplate.of(flow(1, "t", *roles)).assign(wanted("nature", "s3"))
    assert [found[role].name for role in ("FAAS", "DAAS")] == assigned


@pytest.mark.parametrize("roles", [[], ["FAAS"], ["only"]])
def test_too_few_roles_are_no_flow_template_for_the_tuple(roles: list[str]) -> None:
    with pytest.raises(NoFlowTemplate):
        FlowTemplate.of(flow(1, "t", *roles)).assign(wanted("nature", "s3"))


@pytest.mark.parametrize("dialect", ["vm_template", "template_id"])
def test_a_role_names_its_vm_template_in_either_dialect(dialect: str) -> None:
    template = FlowTemplate.of(flow(1, "t", "A", "B", dialect=dialect))
    assert [role.vm_template_id for role in template.roles] == [0, 1]


@pytest.mark.parametrize(
    "role", [{}, {"vm_template": None}, {"vm_template": "x"}, {"template_id": []}]
)
def test_a_role_without_vm_template_is_nonsense_of_opennebula(role: dict) -> None:
    with pytest.raises(BadGateway):
        FlowTemplate.of(document({"roles": [role]}, type_=101))


def test_a_vm_template_that_does_not_exist_has_no_attributes() -> None:
    """The service then fails to deploy, and its log tells why."""
    found = of(Oned())
    assert found.vm_template(5) == {"CPU": "5"}
    assert found.vm_template(999) == {}


# ---- what is remembered -----------------------------------------------------------------


def test_opennebula_is_asked_once_within_the_time() -> None:
    oned, cache = Oned(flow(3, "nature", "FAAS")), Cache(10)
    for _ in range(3):
        of(oned, cache=cache).flow_template(wanted())
        of(oned, cache=cache).vm_template(0)
    assert oned.asked == ["documents", "VM template 0"]


def test_each_user_and_each_password_is_remembered_apart() -> None:
    cache = Cache(10)
    loads: list[str] = []

    def get(credentials: Credentials) -> str:
        def load() -> str:
            loads.append(credentials.session)
            return credentials.session

        return cache.get(credentials, "key", load)

    wrong = Credentials("devuser", "wrong")
    for credentials in (ME, OTHER, wrong, ME, OTHER, wrong):
        assert get(credentials) == credentials.session
    assert loads == [ME.session, OTHER.session, wrong.session]


def test_what_is_too_old_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(flavours, "time", SimpleNamespace(monotonic=lambda: now[0]))
    cache, values = Cache(10), iter(range(10))
    seen = []
    for at in (0, 9.9, 10.1, 20.0, 20.2):
        now[0] = 1000 + at
        seen.append(cache.get(ME, "key", lambda: next(values)))
    assert seen == [0, 0, 1, 1, 2]


def test_nothing_is_remembered_where_the_time_is_zero() -> None:
    cache, values = Cache(0), iter(range(10))
    assert [cache.get(ME, "key", lambda: next(values)) for _ in range(3)] == [0, 1, 2]


def test_a_failure_is_not_remembered() -> None:
    cache = Cache(10)

    def fail() -> int:
        raise BackendTimeout("slow")

    with pytest.raises(BackendTimeout):
        cache.get(ME, "key", fail)
    assert cache.get(ME, "key", lambda: 7) == 7


def test_what_is_forgotten_is_forgotten_of_that_user_only() -> None:
    cache = Cache(10)
    for whose in (ME, OTHER):
        cache.get(whose, "key", lambda: "old")
    cache.forget(ME)
    assert cache.get(ME, "key", lambda: "new") == "new"
    assert cache.get(OTHER, "key", lambda: "new") == "old"


def test_only_so_much_is_remembered() -> None:
    cache = Cache(10, max_entries=2)
    for key in ("a", "b", "c"):
        cache.get(ME, key, lambda: "old")
    assert cache.get(ME, "c", lambda: "new") == "old"
    assert cache.get(ME, "a", lambda: "new") == "new"


def test_many_threads_may_use_it_at_once() -> None:
    cache, wrong = Cache(10, max_entries=8), []

    def work(number: int) -> None:
        for step in range(200):
            key = str((number + step) % 16)
            if cache.get(ME, key, lambda key=key: key) != key:
                wrong.append(key)
            if step % 50 == 0:
                cache.forget(ME)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_no_password_is_kept_in_it() -> None:
    cache = Cache(10)
    cache.get(ME, "key", lambda: 1)
    assert "devpass" not in str(vars(cache))
