"""Whatever a user writes into documents and templates, the engine responds as to anything else.

More of it, which takes minutes:

    pytest tests/security/test_bodies.py --hypothesis-profile=long
"""

from __future__ import annotations

import contextlib
import io
import json
import time
import unicodedata
import uuid
import xmlrpc.client
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

import pytest
import yaml
from hypothesis import HealthCheck, assume, example, given, reject, settings
from hypothesis import strategies as st

from provision_engine import cli
from provision_engine.engine.runtime.model import Phase
from provision_engine.sandbox import Sandbox
from tests.security.forgeries import ESCAPES
from tests.support.client import DEVICE_BYTES, RUNTIMES, Response, request
from tests.support.engine import engine_in_process, settings_for
from tests.support.opennebula import FLOW_TEMPLATE, RUNTIME, SERVICE, OpenNebula
from tests.support.users import ADMINISTRATOR, USER, User

FAILED = "The engine failed"
"""What the engine responds where it met something that nobody expected."""
Json = Any
quick = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)

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


ATTRIBUTES = """
    CPU VCPU MEMORY VCPU_MAX MEMORY_MAX SIZE IP IP6 EXTERNAL_IP CONTEXT REPORT_READY START_SCRIPT
    SCHED_ACTION READY ERROR SCHED_MESSAGE SERVICE_ID ROLE_NAME FLAVOURS HISTORY
""".split()  # noqa: SIM905
plain = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters='"\\\ufffe\uffff')
)
vm_attributes = st.lists(st.tuples(st.sampled_from(ATTRIBUTES), plain | number_texts), max_size=6)


# ---- what has to hold ----------------------------------------------------------------------------


class Place(NamedTuple):
    """An engine in front of a sandbox, and the command ``reconcile`` of an administrator."""

    sandbox: Sandbox
    port: int
    user: OpenNebula
    administrator: OpenNebula
    engine_conf: Path
    vm_id: int
    """Of the user's only VM."""

    def get(self, path: str, who: User = USER) -> Response:
        """Nothing crashes, and a small device can read the response."""
        return self.respond("GET", path, who=who)

    def respond(self, method: str, path: str, members: Json = None, who: User = USER) -> Response:
        response = request(self.port, method, path, members, user=who)
        assert FAILED not in response.text, response.text
        assert response.status < 400 or response.is_error
        if isinstance(response.json, dict):
            assert len(response.content) <= DEVICE_BYTES
        return response

    def reconcile(self) -> None:
        """It finds something or nothing, and prints nothing that breaks or turns a line."""
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            code = cli.main(["reconcile", "--config", str(self.engine_conf), "--older-than", "0"])
        assert code == 0, printed.getvalue()
        assert [c for c in printed.getvalue() if c != "\n" and breaks_a_line(c)] == []


def breaks_a_line(character: str) -> bool:
    turns = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
    is_control = unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
    return is_control or unicodedata.bidirectional(character) in turns


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    directory = tmp_path_factory.mktemp("bodies")
    with Sandbox() as sandbox, pytest.MonkeyPatch.context() as patched:
        urls = sandbox.oned_url, sandbox.oneflow_url
        limits = {"timeout": 1, "lock": {"stale_seconds": 2.1}}
        (directory / "engine.conf").write_text(yaml.safe_dump(settings_for(sandbox, **limits)))
        (directory / "one_auth").write_text(ADMINISTRATOR.session)
        patched.setenv("ONE_AUTH", str(directory / "one_auth"))
        with engine_in_process(settings_for(sandbox, cache={"seconds": 0})) as url:
            yield Place(
                sandbox,
                int(url.rpartition(":")[2]),
                OpenNebula(*urls, USER),
                OpenNebula(*urls, ADMINISTRATOR),
                directory / "engine.conf",
                int(OpenNebula(*urls, USER).call("template.instantiate", 0, "", False, "", False)),
            )


def as_template(attributes: list[tuple[str, str]]) -> str:
    return "\n".join(f'{name}="{value}"' for name, value in attributes)


def write(one: OpenNebula, kind: int, text: str, name: str = "a name") -> int:
    """Write a document, if OpenNebula can store it; its id."""
    stored = f"<TEMPLATE><NAME>{name}</NAME><BODY>{escape(text)}</BODY></TEMPLATE>"
    assume(all((c.isprintable() or c in "\n\t") and c <= "\ufffd" for c in text))
    try:
        number = one.call("document.allocate", stored, kind)
    except xmlrpc.client.Fault:
        reject()
    return int(number)


@contextlib.contextmanager
def removed(one: OpenNebula, *numbers: int) -> Iterator[None]:
    """What was written is removed in the end, if nothing else has done it."""
    try:
        yield
    finally:
        for number in numbers:
            one.refusal("document.delete", number)


def hostile() -> str:
    """What a terminal would obey, wherever reconcile shows it."""
    engine = dict.fromkeys(("PHASE", "NAME", "SERVICE_NAME", "WORKER"), ESCAPES)
    return json.dumps({"ENGINE": engine | {"CREATED_AT": 1}, "FAAS": {"FLAVOUR": ESCAPES}})


@quick
@example(text=largest(), service="{}", attributes=[])
@example(text=hostile(), service="{}", attributes=[])
@example(text=hostile().replace(json.dumps(ESCAPES), '"DELETING"', 1), service="{}", attributes=[])
@given(text=written(runtime_bodies), service=written(service_bodies), attributes=vm_attributes)
def test_a_runtime_is_shown_or_refused_and_reconciled(
    place: Place, text: str, service: str, attributes: list[tuple[str, str]]
) -> None:
    """With its service, and a VM whose user template says anything."""
    with contextlib.suppress(json.JSONDecodeError, RecursionError):
        if isinstance(body := json.loads(text), dict) and "SERVICE_ID" in body:
            text = json.dumps(body | {"SERVICE_ID": write(place.user, SERVICE, service)})
    number = write(place.user, RUNTIME, text)
    with contextlib.suppress(xmlrpc.client.Fault):
        place.user.refusal("vm.update", place.vm_id, as_template(attributes), 0)
    with removed(place.user, number, *place.user.ids(SERVICE)):
        for path in (f"/{number}", f"/{number}/timeline", "", "?state=ERROR&limit=5"):
            place.get(RUNTIMES + path)
        place.reconcile()
        # What is written back is read as it was.
        if place.respond("PUT", f"{RUNTIMES}/{number}", {"NAME": "renamed"}).status == 200:
            assert place.get(f"{RUNTIMES}/{number}").runtime["NAME"] == "renamed"


@quick
@given(
    written(members(roles=st.lists(role, max_size=3))),
    vm_attributes,
    st.sampled_from(["any", "any-s3"]),
)
def test_flavours_are_shown_whatever_templates_hold(
    place: Place, text: str, attributes: list[tuple[str, str]], flavours: str
) -> None:
    lines = as_template([("NAME", str(uuid.uuid4())), *attributes])
    try:
        vm_template = place.administrator.call("template.allocate", lines)
    except xmlrpc.client.Fault:
        reject()
    number = write(place.administrator, FLOW_TEMPLATE, text, flavours)
    place.administrator.call("document.chmod", number, 1, 1, 0, 1, 0, 0, 1, 0, 0)
    try:
        with removed(place.administrator, number):
            place.get("/flavours")
            faas, _, daas = flavours.partition("-")
            functions = {"FAAS": {"FLAVOUR": faas}} | ({"DAAS": {"FLAVOUR": daas}} if daas else {})
            place.respond("POST", f"{RUNTIMES}?dry_run=true", functions)
    finally:
        place.administrator.refusal("template.delete", int(vm_template), False)
