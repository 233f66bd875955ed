"""Whatever is sent: no crash, no broken answer, and no attribute that the contract does not allow.

Each example goes through the whole engine into a sandbox that parses template syntax as oned
does. The long profile takes about ten minutes:

    pytest tests/reliability/test_bad_input.py --hypothesis-profile=long
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from provision_engine.app import create_app
from provision_engine.sandbox import Sandbox
from provision_engine.sandbox.store import Vm
from tests.support.client import RUNTIMES, authorization
from tests.support.engine import configuration_for, engine_process
from tests.support.waiting import wait_until

Json = dict[str, Any]

HTTP = settings(
    max_examples=settings().max_examples // 5,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

PIECES = [*"\"\\[]=,${}<>&;#'`%|()\n\r\t\0A ", "]]>", "${", "$X", '\\"']
HOSTILE = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)
WORDS = st.sampled_from(
    [
        'x"]\nMEMORY="4096"\nINJ=[A="1',
        'x"\nINJ="1"\nY="',
        "\\",
        "\\\\",
        '\\"',
        "]]>",
        "]]><INJ>1</INJ><![CDATA[",
        "</BODY></TEMPLATE>",
        "${VMID}",
        "$NAME",
        "$(id)",
        "`id`",
        "%s%n{0}",
        "A" * 4096,
        "é" * 4000,
        "\u2028",
        "\ufffe",
        "\U0001f642",
        "\u202e",
        "{{7*7}}",
        "../../etc/passwd",
    ]
)
TEXT = st.one_of(HOSTILE, WORDS, st.text(max_size=40))
NAME_OF_MEMBER = st.one_of(st.from_regex(r"[A-Z][A-Z0-9_]{0,12}", fullmatch=True), TEXT)

PLACES: dict[str, Callable[[Json, str], None]] = {
    "NAME": lambda runtime, text: runtime.update(NAME=text),
    "POLICY": lambda runtime, text: runtime["SCHEDULING"].update(POLICY=text),
    "REQUIREMENTS": lambda runtime, text: runtime["SCHEDULING"].update(REQUIREMENTS=text),
    "LOCATION": lambda runtime, text: runtime["DEVICE_INFO"].update(GEOGRAPHIC_LOCATION=text),
    "FURTHER": lambda runtime, text: runtime["DEVICE_INFO"].update(FURTHER=text),
    "FLAVOUR": lambda runtime, text: runtime["FAAS"].update(FLAVOUR=text),
    "UNKNOWN": lambda runtime, text: runtime.update({text: text}),
    "ID": lambda runtime, text: runtime.update(ID=text),
    "STATE": lambda runtime, text: runtime["FAAS"].update(STATE=text, ENDPOINT=text, ERROR=text),
    "MEMBER": lambda runtime, text: runtime["DEVICE_INFO"].update({text: "1"}),
}
ALLOWED_OF_USER_TEMPLATE = {"SCHED_REQUIREMENTS", "SCHED_RANK", "DEVICE_INFO", "FLAVOURS"}


@pytest.fixture(scope="module", params=["6.8.0", "7.4.0"])
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    with Sandbox(release=request.param, hosts=1000) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def client(sandbox: Sandbox) -> FlaskClient:
    settings = {"cache": {"seconds": 600}, "timeout": 60}
    return create_app(configuration_for(sandbox, **settings)).test_client()


def specification() -> Json:
    return {
        "FAAS": {"FLAVOUR": "nature", "CPU": 1, "MEMORY": 128, "DISK_SIZE": 1025},
        "SCHEDULING": {"POLICY": "energy", "REQUIREMENTS": "FREE_CPU > 10"},
        "DEVICE_INFO": {"LATENCY_TO_PE": 0.5, "GEOGRAPHIC_LOCATION": "l", "FURTHER": "f"},
    }


def is_well_formed(status: int, content: bytes, content_type: str) -> bool:
    """An answer as the contract has it, whatever it says."""
    if status == 204:
        return content == b""
    body = json.loads(content)
    is_error = isinstance(body, dict) and sorted(body) == ["error", "message"]
    return content_type == "application/json" and is_error == (status >= 400)


def sent(client: FlaskClient, method: str, path: str, body: bytes) -> tuple[int, Any]:
    answer = client.open(path, method=method, data=body, headers=authorization())
    content = answer.get_data()
    assert is_well_formed(answer.status_code, content, answer.content_type), content[:500]
    assert len(content) <= 30_000
    return answer.status_code, json.loads(content) if content else None


def counted(sandbox: Sandbox, expected: dict[str, int]) -> bool:
    """Whether that many are left once what was deleted before has ended."""
    return bool(wait_until(lambda: sandbox.store.count() == expected))


def shape(vm: Vm) -> dict[str, Any]:
    """Names and values of all that no device decides on."""
    known = {}
    for which, items in (("TEMPLATE", vm.template), ("USER_TEMPLATE", vm.user_template)):
        for name, value in items.items:
            if which == "TEMPLATE" or name not in ALLOWED_OF_USER_TEMPLATE:
                known[f"{which}/{name}"] = sorted(value) if isinstance(value, dict) else value
    return {name: value for name, value in known.items() if name not in OF_EACH_VM}


OF_EACH_VM = {"TEMPLATE/VMID", "TEMPLATE/AUTOMATIC_REQUIREMENTS", "TEMPLATE/TEMPLATE_ID"}


def device_info(vm: Vm) -> list[dict[str, str]]:
    return vm.user_template.vectors("DEVICE_INFO")


@pytest.mark.parametrize("place", list(PLACES))
@HTTP
@given(text=TEXT)
def test_a_text_arrives_as_it_is_or_is_refused(
    sandbox: Sandbox, client: FlaskClient, place: str, text: str
) -> None:
    wanted = specification()
    PLACES[place](wanted, text)
    body = json.dumps({"SERVERLESS_RUNTIME": wanted}).encode()
    status, answer = sent(client, "POST", RUNTIMES, body)
    if status != 201:
        is_unknown_flavour = place == "FLAVOUR" and status == 422
        assert status == 400 or is_unknown_flavour, answer
        assert counted(sandbox, {"runtimes": 0, "services": 0, "vms": 0})
        return
    runtime = answer["SERVERLESS_RUNTIME"]
    path = f"{RUNTIMES}/{runtime['ID']}"
    try:
        assert_carried(wanted, runtime, sandbox.store.vm(runtime["FAAS"]["VM_ID"]), stored(sandbox))
        assert sent(client, "GET", path, b"")[0] == 200
    finally:
        assert sent(client, "DELETE", path, b"")[0] == 204


def stored(sandbox: Sandbox) -> Callable[[str], str]:
    """What OpenNebula stores of a text: 7.x cuts off the blanks at its ends."""
    return str.strip if sandbox.world.store.release.trims_values else str


def assert_carried(wanted: Json, runtime: Json, vm: Vm, as_stored: Callable[[str], str]) -> None:
    """The VM has what was sent, and nothing that was smuggled in."""
    assert [name for name in shape(vm) if "INJ" in name] == []
    for member, attribute in (("POLICY", "SCHED_RANK"), ("REQUIREMENTS", "SCHED_REQUIREMENTS")):
        expression = wanted["SCHEDULING"][member]
        # Blanks alone are an empty expression, which is left out.
        expected = expression.upper() if expression.strip(" ") else ""
        assert (vm.user_template.text(attribute) or "") == as_stored(expected)
    assert [vm.template.text(n) for n in ("CPU", "MEMORY", "VCPU")] == ["1", "128", "1"]
    (info,) = device_info(vm)
    for name in ("GEOGRAPHIC_LOCATION", "FURTHER"):
        assert info.get(name, "") == as_stored(wanted["DEVICE_INFO"][name])
        assert runtime["DEVICE_INFO"].get(name, "") == wanted["DEVICE_INFO"][name]
    assert runtime.get("NAME") == wanted.get("NAME") or not wanted.get("NAME")


def test_all_vms_have_the_same_attributes(sandbox: Sandbox, client: FlaskClient) -> None:
    """Those of a hostile runtime are named as those of an honest one."""
    shapes = []
    for text in ("honest", 'x"], INJ="1', "]] > <INJ>1</INJ>"):
        wanted = specification()
        for place in ("NAME", "LOCATION", "FURTHER", "STATE"):
            PLACES[place](wanted, text)
        body = json.dumps({"SERVERLESS_RUNTIME": wanted}).encode()
        # OpenNebula adds attributes until a VM runs.
        status, answer = sent(client, "POST", f"{RUNTIMES}?wait=60", body)
        assert status == 201, answer
        runtime = answer["SERVERLESS_RUNTIME"]
        shapes.append(sorted(shape(sandbox.store.vm(runtime["FAAS"]["VM_ID"]))))
        assert sent(client, "DELETE", f"{RUNTIMES}/{runtime['ID']}", b"")[0] == 204
    assert len(shapes[0]) > 5
    assert shapes == [shapes[0]] * 3


@HTTP
@given(raw=st.binary(max_size=200))
def test_any_bytes_are_refused_in_our_form(client: FlaskClient, raw: bytes) -> None:
    assert sent(client, "POST", RUNTIMES, raw)[0] == 400


@HTTP
@given(identifier=st.one_of(TEXT, st.integers().map(str), st.floats().map(str)))
def test_any_id_is_answered_in_our_form(client: FlaskClient, identifier: str) -> None:
    path = f"{RUNTIMES}/{quote(identifier, safe='', errors='surrogatepass')}"
    assume(path not in (f"{RUNTIMES}/", f"{RUNTIMES}/schema"))
    for method in ("GET", "PUT", "DELETE"):
        status, _ = sent(client, method, path, b"{}")
        assert status == 404, (status, identifier)


@HTTP
@given(user=TEXT, password=TEXT)
def test_nobody_gets_in_with_a_strange_password(
    client: FlaskClient, user: str, password: str
) -> None:
    token = base64.b64encode(f"{user}:{password}".encode(errors="surrogatepass")).decode()
    answer = client.get(f"{RUNTIMES}/0", headers={"Authorization": f"Basic {token}"})
    assert answer.status_code == 401, answer.get_data()
    assert is_well_formed(401, answer.get_data(), answer.content_type)
    if len(password) > 3:
        assert password not in answer.get_data(as_text=True)


SCHEMATHESIS = shutil.which("schemathesis", path=str(Path(sys.executable).parent))
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_schema_conformance,response_headers_conformance,ignored_auth"
)


@pytest.mark.skipif(SCHEMATHESIS is None, reason="schemathesis is not installed")
def test_the_openapi_document_is_kept(tmp_path: Path) -> None:
    """With more examples: schemathesis run URL/openapi.json --max-examples 500."""
    assert SCHEMATHESIS is not None
    with (
        Sandbox(hosts=1000) as sandbox,
        engine_process(tmp_path / "engine", sandbox, wait={"max_seconds": 1}) as engine,
    ):
        done = subprocess.run(
            [
                SCHEMATHESIS,
                "run",
                f"http://127.0.0.1:{engine.port}/openapi.json",
                *("--header", f"Authorization: {authorization()['Authorization']}"),
                *("--checks", CHECKS, "--max-examples", "4", "--seed", "1"),
                *("--exclude-path", "/ui", "--exclude-path", "/docs"),
                *("--request-timeout", "30", "--continue-on-failure"),
            ],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-6000:]
        assert "Traceback" not in engine.log()
