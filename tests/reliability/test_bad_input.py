"""Whatever is sent: no crash, no broken answer, and no attribute that the contract does not allow.

Each example goes through the whole engine into a sandbox that parses template syntax as oned
does. The long profile takes about ten minutes:

    pytest tests/reliability/test_bad_input.py --hypothesis-profile=long
"""

from __future__ import annotations

import base64
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from provision_engine.sandbox import Sandbox
from provision_engine.sandbox.store import Vm
from tests.support.client import RUNTIMES, Device, Json, authorization
from tests.support.engine import engine_in_process, engine_process, settings_for
from tests.support.programs import run
from tests.support.waiting import wait_until

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
USER_TEMPLATE = {
    *("SCHED_REQUIREMENTS", "SCHED_RANK", "DEVICE_INFO", "FLAVOURS", "HOT_RESIZE", "ROLE_NAME"),
    *("SERVICE_ID", "SCHED_MESSAGE"),
}
"""The names of all attributes that a VM may have there, with those that OpenNebula adds."""


@pytest.fixture(scope="module", params=["6.8.0", "7.4.0"])
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    with Sandbox(release=request.param, hosts=1000) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def device(sandbox: Sandbox) -> Iterator[Device]:
    with engine_in_process(settings_for(sandbox, cache={"seconds": 600}, timeout=60)) as url:
        yield Device(url)


def specification() -> Json:
    return {
        "FAAS": {"FLAVOUR": "nature", "CPU": 1, "MEMORY": 128, "DISK_SIZE": 1025},
        "SCHEDULING": {"POLICY": "energy", "REQUIREMENTS": "FREE_CPU > 10"},
        "DEVICE_INFO": {"LATENCY_TO_PE": 0.5, "GEOGRAPHIC_LOCATION": "l", "FURTHER": "f"},
    }


@pytest.mark.parametrize("place", list(PLACES))
@HTTP
@given(text=TEXT)
def test_a_text_arrives_as_it_is_or_is_refused(
    sandbox: Sandbox, device: Device, place: str, text: str
) -> None:
    wanted = specification()
    PLACES[place](wanted, text)
    response = device.post(**wanted)
    if response.status != 201:
        is_unknown_flavour = place == "FLAVOUR" and response.status == 422
        assert response.status == 400 or is_unknown_flavour, response.text
        # What was deleted before may still be ending.
        wait_until(lambda: not any(sandbox.store.count().values()))
        return
    runtime = response.runtime
    try:
        assert_carried(wanted, runtime, sandbox.store.vm(runtime["FAAS"]["VM_ID"]), stored(sandbox))
        assert device.get(runtime["ID"]).status == 200
    finally:
        assert device.delete(runtime["ID"]).status == 204


def stored(sandbox: Sandbox) -> Callable[[str], str]:
    """What OpenNebula stores of a text: 7.x cuts off the blanks at its ends."""
    return str.strip if sandbox.world.store.release.trims_values else str


def assert_carried(wanted: Json, runtime: Json, vm: Vm, as_stored: Callable[[str], str]) -> None:
    """The VM has what was sent, and nothing that was smuggled in."""
    assert {name for name, _ in vm.user_template.items} <= USER_TEMPLATE
    assert "INJ" not in dict(vm.template.items)
    for member, attribute in (("POLICY", "SCHED_RANK"), ("REQUIREMENTS", "SCHED_REQUIREMENTS")):
        expression = wanted["SCHEDULING"][member]
        # Blanks alone are an empty expression, which is left out.
        expected = expression.upper() if expression.strip(" ") else ""
        assert (vm.user_template.text(attribute) or "") == as_stored(expected)
    assert [vm.template.text(n) for n in ("CPU", "MEMORY", "VCPU")] == ["1", "128", "1"]
    (info,) = vm.user_template.vectors("DEVICE_INFO")
    for name in ("GEOGRAPHIC_LOCATION", "FURTHER"):
        assert info.get(name, "") == as_stored(wanted["DEVICE_INFO"][name])
        assert runtime["DEVICE_INFO"].get(name, "") == wanted["DEVICE_INFO"][name]
    assert runtime.get("NAME") == wanted.get("NAME") or not wanted.get("NAME")


@HTTP
@given(raw=st.binary(max_size=200))
def test_any_bytes_are_refused(device: Device, raw: bytes) -> None:
    assert device.request("POST", RUNTIMES, raw).status == 400


@HTTP
@given(identifier=st.one_of(TEXT, st.integers().map(str), st.floats().map(str)))
def test_any_id_is_unknown(device: Device, identifier: str) -> None:
    quoted = quote(identifier, safe="", errors="surrogatepass")
    assume(quoted not in ("", "schema"))
    for method in ("GET", "PUT", "DELETE"):
        assert device.request(method, f"{RUNTIMES}/{quoted}", b"{}").status == 404, identifier


@HTTP
@given(user=TEXT, password=TEXT)
def test_nobody_gets_in_with_a_strange_password(device: Device, user: str, password: str) -> None:
    token = base64.b64encode(f"{user}:{password}".encode(errors="surrogatepass")).decode()
    response = device.get(0, user=None, headers={"Authorization": f"Basic {token}"})
    assert response.status == 401
    assert len(password) <= 3 or password not in response.text


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
        done = run(
            *(SCHEMATHESIS, "run", f"{engine.url}/openapi.json"),
            *("--header", f"Authorization: {authorization()['Authorization']}"),
            *("--checks", CHECKS, "--max-examples", "4", "--seed", "1"),
            *("--exclude-path", "/ui", "--exclude-path", "/docs"),
            *("--request-timeout", "30", "--continue-on-failure"),
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stdout[-6000:]
        assert "Traceback" not in engine.log()
