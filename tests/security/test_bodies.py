"""Whatever a user writes into documents and templates, it raises nothing but our own errors.

More of it, which takes minutes:

    pytest tests/security/test_bodies.py --hypothesis-profile=long
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import Any

import pytest
from flask import Flask
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from lxml import etree

from provision_engine.api import representation
from provision_engine.app import create_app
from provision_engine.cli import reconcile as command
from provision_engine.cloud import objects, template
from provision_engine.cloud.client import Credentials
from provision_engine.cloud.enums import DocumentType
from provision_engine.cloud.objects import Document, Service, User, Vm, VmTemplate
from provision_engine.deadline import Deadline
from provision_engine.engine import preflight
from provision_engine.engine.actions.timeline import steps
from provision_engine.engine.cache import Cache
from provision_engine.engine.context import Context, Memory
from provision_engine.engine.flavours import FlowTemplate
from provision_engine.engine.runtime import attributes as attributes_of
from provision_engine.engine.runtime import document, services, states
from provision_engine.engine.runtime.dialect import DIALECTS, SEVEN, SIX, Dialect
from provision_engine.engine.runtime.model import Phase, Runtime
from provision_engine.engine.runtime.snapshot import Snapshot
from provision_engine.engine.safety import leases, unfinished
from provision_engine.engine.safety.reconcile import Outcome, Reconciler, Result
from provision_engine.errors import EngineError, NotFound
from tests.unit.support import configuration

OWNER, ADMINISTRATOR = 2, 0
DEVICE_BYTES = 30_000
"""A small device reads a response into so many."""
Json = Any
quick = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
few = settings(quick, max_examples=settings().max_examples // 4)

# ---- values --------------------------------------------------------------------------------------

NAMES = """
    FAAS DAAS ENGINE PHASE FLAVOUR VM_ID CPU MEMORY DISK_SIZE SERVICE_ID SERVICE_NAME NAME LEASE
    TTL LEASE_ENDS_AT LEASE_RENEWED CREATED_AT INTENDED_AT CLAIMED_AT WORKER KEY DIGEST BLUEPRINT
    SUSPENDED SCHEDULING POLICY REQUIREMENTS DEVICE_INFO LATENCY_TO_PE GEOGRAPHIC_LOCATION
    roles name state nodes deploy_id log timestamp severity message start_time cardinality
    vm_template template_id vm_template_contents template_contents type
""".split()  # noqa: SIM905
any_text = st.text(st.characters(), max_size=40)
"""Control characters and halves of surrogate pairs too."""
long_text = st.characters().map(lambda character: 5_000 * character)
numbers = (
    st.integers(-2, 20)
    | st.sampled_from([2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63, 2**70, 10**400, -(2**70)])
    | st.floats()
)
number_texts = numbers.map(repr) | st.sampled_from(
    ["²", "٣", " 5", "+5", "7" * 5_000, "1e5", "0x5"]
)
known = st.sampled_from([*Phase, "E", "I", "standby:nature", "nature", "x_" + "0" * 36])
scalars = st.none() | st.booleans() | numbers | any_text | number_texts | known | long_text
names = st.sampled_from(NAMES) | any_text
values = st.recursive(
    scalars,
    lambda below: st.lists(below, max_size=4) | st.dictionaries(names, below, max_size=6),
    max_leaves=12,
)


def members(**known: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    """An object with some of these members, each of them sometimes of any other kind."""
    return st.builds(
        lambda known, more: more | known,
        st.fixed_dictionaries({}, optional={n: s | values for n, s in known.items()}),
        st.dictionaries(names, values, max_size=2),
    )


ids = st.integers(0, 9) | numbers | number_texts
function = members(FLAVOUR=any_text | known, VM_ID=ids, CPU=numbers, MEMORY=ids, DISK_SIZE=numbers)
engine = members(
    PHASE=st.sampled_from(list(Phase)),
    SERVICE_NAME=known,
    NAME=any_text | long_text,
    CREATED_AT=numbers | st.just(int(time.time())),
    LEASE_ENDS_AT=numbers,
    WORKER=any_text,
    KEY=known,
)
runtime_bodies = members(
    FAAS=function,
    DAAS=function,
    SERVICE_ID=ids,
    SCHEDULING=st.dictionaries(st.sampled_from(["POLICY", "REQUIREMENTS"]), long_text | any_text),
    DEVICE_INFO=st.dictionaries(any_text, scalars, max_size=5),
    LEASE=members(TTL=numbers),
    ENGINE=engine,
)
node = members(deploy_id=ids)
role = members(
    name=any_text | st.sampled_from(["FAAS", "DAAS"]),
    state=st.integers(0, 15),
    nodes=st.lists(node, max_size=3),
    template_id=ids,
    vm_template=ids,
)
entry = members(timestamp=numbers, severity=st.sampled_from("EI"), message=any_text | long_text)
service_bodies = members(
    state=st.integers(0, 15),
    roles=st.lists(role, max_size=3),
    log=st.lists(entry, max_size=3),
    start_time=numbers,
)


def deep(inner: str) -> str:
    return '{"ENGINE":' * 2_000 + inner + "}" * 2_000


def written(bodies: st.SearchStrategy[Json]) -> st.SearchStrategy[str]:
    """The text in a document: JSON, and now and then what is none."""
    texts = bodies.map(json.dumps)
    odd = any_text | values.map(json.dumps) | texts.map(lambda text: text[:-3]) | texts.map(deep)
    return texts | texts | texts | odd


def largest() -> str:
    """As long as each text may be, of characters that are long in UTF-8 or as JSON."""
    text, name = "\U0001f600" * 4096, "\x01" * 4096
    function = {"FLAVOUR": name, "VM_ID": 2**31 - 1, "CPU": 2**31 - 1, "MEMORY": 2**31 - 1}
    return json.dumps(
        {
            "FAAS": function,
            "DAAS": function | {"FLAVOUR": text},
            "SCHEDULING": {"POLICY": text, "REQUIREMENTS": name},
            "DEVICE_INFO": {"A": "x" * 19_000},
            "ENGINE": {"NAME": text, "PHASE": "READY"},
        }
    )


def in_document(kind: int, text: str, number: int = 5, name: str = "a name") -> Document:
    return Document(number, name, kind, OWNER, text, None)


# ---- VMs and VM templates ------------------------------------------------------------------------

xml_texts = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\ufffe\uffff", min_codepoint=32)
    | st.sampled_from("\t\n"),
    max_size=30,
)
ATTRIBUTES = """
    CPU VCPU MEMORY VCPU_MAX MEMORY_MAX DISK SIZE DISK_ID NIC IP IP6 EXTERNAL_IP CONTEXT
    REPORT_READY START_SCRIPT SCHED_ACTION ACTION TIME ID READY ERROR SCHED_MESSAGE SERVICE_ID
    ROLE_NAME FLAVOURS HISTORY
""".split()  # noqa: SIM905


def elements(depth: int = 2) -> st.SearchStrategy[list[tuple[str, Any]]]:
    plain = xml_texts | number_texts.map(lambda t: t)
    below = plain if not depth else plain | elements(depth - 1)
    return st.lists(st.tuples(st.sampled_from(ATTRIBUTES), below), max_size=6)


def element(tag: str, content: Any) -> etree._Element:
    made = etree.Element(tag)
    if isinstance(content, str):
        made.text = content
    else:
        made.extend(element(name, below) for name, below in content)
    return made


def vm_of(number: int, template_: Any, user_template: Any, state: int = 3) -> etree._Element:
    made = element("VM", [("ID", str(number)), ("UID", str(OWNER)), ("STATE", str(state))])
    made.append(element("LCM_STATE", "3"))
    made.append(element("STIME", "5"))
    made.append(element("NAME", "vm"))
    made.append(element("TEMPLATE", [("CPU", "1"), ("MEMORY", "128"), *template_]))
    made.append(element("USER_TEMPLATE", user_template))
    return made


vms = st.builds(vm_of, st.integers(0, 9), elements(), elements(), st.integers(0, 11))


def read_vms(found: list[etree._Element]) -> dict[int, Vm]:
    """Those that can be read."""
    read = {}
    for vm in found:
        with suppress(EngineError):
            made = Vm.from_xml(vm)
            read[made.id] = made
    return read


# ---- what has to hold ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def app() -> Flask:
    return create_app(configuration())


def responded(app: Flask, body: Json) -> bytes:
    """As a response has it."""
    with app.app_context():
        return app.json.dumps(body).encode()


@quick
@example(text=largest(), service="{}", vms=[])
@given(text=written(runtime_bodies), service=written(service_bodies), vms=st.lists(vms, max_size=3))
def test_a_runtime_is_read_and_shown_or_refused(
    app: Flask, text: str, service: str, vms: list[etree._Element]
) -> None:
    try:
        runtime = document.to_runtime(in_document(DocumentType.RUNTIME, text))
    except EngineError as error:
        assert_shown(app, error)
        return
    its_service = Service.from_document(in_document(DocumentType.SERVICE, service))
    for seen, known in ((read_vms(vms), its_service), ({}, None)):
        snapshot = Snapshot.taken(runtime, seen, known)
        shown = responded(app, representation.runtime(snapshot))
        assert len(shown) <= DEVICE_BYTES
        representation.etag(snapshot)
        responded(app, representation.timeline(steps(runtime, known, {})))
        leases.is_over(runtime, seen, time.time())
    assert_stored(runtime)


def assert_shown(app: Flask, error: EngineError) -> None:
    told = responded(app, {"error": error.error, "message": error.message})
    assert len(told) <= DEVICE_BYTES


def assert_stored(runtime: Runtime) -> None:
    """What is written back is read as it was."""
    text, name = document.body_of(runtime), document.name_of(runtime)
    template.document(name, text).encode()
    again = document.to_runtime(in_document(DocumentType.RUNTIME, text, name=name))
    assert again.functions == runtime.functions
    assert (again.phase, again.name, again.service_id) == (
        runtime.phase,
        runtime.name,
        runtime.service_id,
    )


@quick
@given(written(service_bodies))
def test_a_service_is_read_whatever_is_in_it(app: Flask, text: str) -> None:
    service = Service.from_document(in_document(DocumentType.SERVICE, text))
    states.service_has_failed(service)
    states.service_is_ending(service)
    states.service_ends_by_itself(service)
    assert len(responded(app, states.of_missing_vm(service).text)) <= DEVICE_BYTES
    states.last_entry_at(service)
    assert all(0 <= number < 2**31 for number in service.vm_ids)
    states.vm_ids(service)
    assert_shown(app, services.deploy_error(service))


@quick
@given(
    written(members(roles=st.lists(role, max_size=3))),
    elements(),
    st.sampled_from(["nature", "nature-s3"]),
    st.sampled_from(DIALECTS),
)
def test_flavours_are_shown_whatever_templates_hold(
    app: Flask, text: str, attributes: list[tuple[str, Any]], flavours: str, spoken: Dialect
) -> None:
    root = element("VMTEMPLATE", [("ID", "5"), ("NAME", "x"), ("TEMPLATE", attributes)])
    made = VmTemplate.from_xml(root)
    found = in_document(DocumentType.FLOW_TEMPLATE, text, name=flavours)
    inspector = preflight.Inspector(_context(_Templates(made), spoken))
    seen = inspector.of_template(flavours, found)
    responded(app, representation.preflights([seen]))
    with suppress(EngineError):
        flow = FlowTemplate.from_document(found)
        specification = preflight.specified(flavours, flow.roles)
        assigned = flow.assign(specification)
        capacity = configuration().capacity
        values = {
            flow_role.name: attributes_of.role_attributes(
                seen.functions[role], made.attributes, specification, 5, capacity, "secret"
            )
            for role, flow_role in assigned.items()
        }
        json.dumps(spoken.merge_template("x", flow.roles, values)).encode()


@quick
@given(vms)
def test_a_vm_is_read_or_refused(vm: etree._Element) -> None:
    for read in read_vms([vm]).values():
        states.of_vm(read)
        states.is_ending(read)


@few
@given(
    documents=st.lists(written(runtime_bodies), max_size=4),
    services=st.lists(written(service_bodies), max_size=3),
    vms=st.lists(vms, max_size=4),
)
def test_reconcile_finds_something_or_nothing(
    documents: list[str], services: list[str], vms: list[etree._Element]
) -> None:
    context = _context(_Everything(documents, services, vms))
    findings = Reconciler(context, 0).find()
    outcomes = [Outcome(finding, Result.FOUND) for finding in findings]
    printed = command._as_table(outcomes, False) + command._as_json(outcomes)
    assert all(c.isprintable() or c == "\n" for c in printed)
    assert all(finding.owner_id == OWNER for finding in findings)
    unfinished.partition(context, abandoned_runtimes(documents))


def abandoned_runtimes(documents: list[str]) -> list[Runtime]:
    found = []
    for text in documents:
        with suppress(EngineError):
            found.append(document.to_runtime(in_document(DocumentType.RUNTIME, text)))
    return found


class _Templates:
    """oned with one VM template."""

    def __init__(self, vm_template: VmTemplate) -> None:
        self._vm_template = vm_template

    def vm_template(self, template_id: int) -> VmTemplate:
        return self._vm_template

    def quota(self) -> objects.Quota:
        return objects.Quota.from_xml(element("USER", []))


class _Everything:
    """oned with what one user has written."""

    def __init__(
        self, documents: list[str], services: list[str], vms: list[etree._Element]
    ) -> None:
        self._texts = {DocumentType.RUNTIME: documents, DocumentType.SERVICE: services}
        self._vms = vms

    def user_ids(self) -> list[int]:
        return [OWNER]

    def owners_of_vms(self) -> set[int]:
        return {OWNER}

    def documents(self, kind: int, *_: Any, **__: Any) -> list[Document]:
        texts = self._texts[DocumentType(kind)]
        return [in_document(kind, text, 10 * n) for n, text in enumerate(texts)]

    def document(self, number: int) -> Document:
        raise NotFound(f"no document {number}")

    def vms_of_user(self, whose: int) -> list[Vm]:
        return list(read_vms(self._vms).values())


class _Cloud:
    def __init__(self, oned: Any, version: str) -> None:
        self.oned, self.credentials, self.deadline = oned, Credentials("x", "y"), Deadline(30)
        oned.version = lambda: version

    def until(self, deadline: Deadline) -> _Cloud:
        return self

    def now(self) -> float:
        return time.time()


def _context(oned: Any, spoken: Dialect = SEVEN) -> Context:
    cloud: Any = _Cloud(oned, "6.8.0" if spoken is SIX else "7.4.0")
    made = Context(cloud, configuration(), Memory.empty(Cache(0)))
    made.memory.users.put(made.owner, User(ADMINISTRATOR, is_administrator=True))
    return made
