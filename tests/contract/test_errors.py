"""Every status of the contract, and the form of all errors."""

from __future__ import annotations

import base64
import socket
from typing import Any

import pytest
import requests

from provision_engine.sandbox import Sandbox

from .conftest import Stage
from .device import PATH, Device, small
from .opennebula import RUNTIME, OpenNebula, until
from .settings import FLAVOUR

NO_ID = 2**31 - 1
GOOD = b'{"SERVERLESS_RUNTIME": {"FAAS": {"FLAVOUR": "%s"}}}' % FLAVOUR.encode()
WRONG = (b"devuser", b"wrong")
HOSTILE_BODIES = {
    "empty": b"",
    "no json": b"{",
    "text": b"hello",
    "a list": b"[]",
    "a number": b"3",
    "null": b"null",
    "no runtime": b"{}",
    "null runtime": b'{"SERVERLESS_RUNTIME": null}',
    "a list of runtimes": b'{"SERVERLESS_RUNTIME": [{}]}',
    "no utf-8": b'{"SERVERLESS_RUNTIME": {"NAME": "\xff\xfe"}}',
    "utf-16": '{"SERVERLESS_RUNTIME": {}}'.encode("utf-16"),
    "not a number": b'{"SERVERLESS_RUNTIME": {"FAAS": {"FLAVOUR": "f", "CPU": NaN}}}',
    "infinity": b'{"SERVERLESS_RUNTIME": {"FAAS": {"FLAVOUR": "f", "CPU": 1e999}}}',
    "twins": b'{"SERVERLESS_RUNTIME": {"FAAS": {"FLAVOUR": "a", "FLAVOUR": "b"}}}',
    "deep": b'{"SERVERLESS_RUNTIME": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep objects": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "digits": b'{"SERVERLESS_RUNTIME": {"FAAS": {"FLAVOUR": "f", "CPU": ' + b"9" * 5000 + b"}}}",
    "cpu is text": b'{"SERVERLESS_RUNTIME": {"FAAS": {"FLAVOUR": "f", "CPU": "2"}}}',
    "cpu is true": b'{"SERVERLESS_RUNTIME": {"FAAS": {"FLAVOUR": "f", "CPU": true}}}',
    "cpu is zero": b'{"SERVERLESS_RUNTIME": {"FAAS": {"FLAVOUR": "f", "CPU": 0}}}',
    "cpu is negative": b'{"SERVERLESS_RUNTIME": {"FAAS": {"FLAVOUR": "f", "CPU": -1}}}',
    "cpu is a part": b'{"SERVERLESS_RUNTIME": {"FAAS": {"FLAVOUR": "f", "CPU": 0.5}}}',
    "flavour is a number": b'{"SERVERLESS_RUNTIME": {"FAAS": {"FLAVOUR": 1}}}',
    "faas is null": b'{"SERVERLESS_RUNTIME": {"FAAS": null}}',
    "name is a list": b'{"SERVERLESS_RUNTIME": {"NAME": [], "FAAS": {"FLAVOUR": "f"}}}',
    "scheduling is text": b'{"SERVERLESS_RUNTIME": {"SCHEDULING": "x", "FAAS": {"FLAVOUR": "f"}}}',
    "latency is text": b'{"SERVERLESS_RUNTIME": {"DEVICE_INFO": {"LATENCY_TO_PE": "1"}, '
    b'"FAAS": {"FLAVOUR": "f"}}}',
    "latency without end": b'{"SERVERLESS_RUNTIME": {"DEVICE_INFO": {"LATENCY_TO_PE": 1e999}, '
    b'"FAAS": {"FLAVOUR": "f"}}}',
}


@pytest.mark.parametrize("body", HOSTILE_BODIES.values(), ids=HOSTILE_BODIES)
def test_an_invalid_body_is_a_400(device: Device, body: bytes) -> None:
    answer = device.request("POST", PATH, body)
    assert answer.status_code == 400
    assert answer.json()["message"]


@pytest.mark.parametrize("body", HOSTILE_BODIES.values(), ids=HOSTILE_BODIES)
def test_an_invalid_body_of_an_update_is_a_400(
    device: Device, opennebula: OpenNebula, body: bytes
) -> None:
    document = '<TEMPLATE><NAME>n</NAME><BODY>{"FAAS": {"FLAVOUR": "f"}}</BODY></TEMPLATE>'
    runtime_id = opennebula.call("document.allocate", document, RUNTIME)
    answer = device.request("PUT", f"{PATH}/{runtime_id}", body)
    opennebula.call("document.delete", runtime_id)
    assert answer.status_code == 400


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"FAAS": {"FLAVOUR": "f", "CPU": "2"}}, "SERVERLESS_RUNTIME.FAAS.CPU"),
        ({"FAAS": {"FLAVOUR": ""}}, "SERVERLESS_RUNTIME.FAAS.FLAVOUR"),
        ({"FAAS": {}}, "SERVERLESS_RUNTIME.FAAS"),
        ({}, "SERVERLESS_RUNTIME"),
        (
            {"FAAS": {"FLAVOUR": "f"}, "DEVICE_INFO": {"LATENCY_TO_PE": "x"}},
            "SERVERLESS_RUNTIME.DEVICE_INFO.LATENCY_TO_PE",
        ),
    ],
)  # fmt: skip
def test_the_message_names_the_place(device: Device, body: Any, place: str) -> None:
    answer = device.post(**body)
    assert answer.status_code == 400
    assert place in answer.json()["message"]


def test_a_body_over_the_limit_is_a_413(device: Device) -> None:
    answer = device.request("POST", PATH, b" " * 1_048_577)
    assert answer.status_code == 413


def test_a_body_of_the_limit_is_read(device: Device) -> None:
    answer = device.request("POST", PATH, b"{" + b" " * (1_048_576 - 1))
    assert answer.status_code == 400


HEADERS = {
    "none": None,
    "empty": "",
    "no scheme": base64.b64encode(b"devuser:devpass").decode(),
    "bearer": "Bearer abc",
    "digest": 'Digest username="devuser"',
    "no base64": "Basic !!!!",
    "half base64": "Basic ZGV2dXN",
    "nothing": "Basic ",
    "no colon": "Basic " + base64.b64encode(b"devuser").decode(),
    "no user": "Basic " + base64.b64encode(b":devpass").decode(),
    "no password": "Basic " + base64.b64encode(b"devuser:").decode(),
    "control character": "Basic " + base64.b64encode(b"dev\x00user:devpass").decode(),
    "newline": "Basic " + base64.b64encode(b"devuser:dev\npass").decode(),
    "wrong": "Basic " + base64.b64encode(b"devuser:wrong").decode(),
    "unknown user": "Basic " + base64.b64encode(b"nobody-at-all:devpass").decode(),
    "no utf-8": "Basic " + base64.b64encode(b"devuser:\xff\xfe").decode(),
    "emoji": "Basic " + base64.b64encode("devuser:🙂".encode()).decode(),
    "colons": "Basic " + base64.b64encode(b"devuser:dev:pass").decode(),
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
@pytest.mark.parametrize("method", ["POST", "GET", "PUT", "DELETE"])
def test_missing_malformed_or_wrong_credentials_are_a_401(
    device: Device, method: str, header: str | None
) -> None:
    path = PATH if method == "POST" else f"{PATH}/{NO_ID}"
    answer = device.request(method, path, GOOD, auth=Verbatim(header))
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Basic")


@pytest.mark.parametrize("key", [{}, {"Idempotency-Key": "key"}], ids=["", "key"])
@pytest.mark.parametrize("query", ["", "?dry_run=true", "?wait=soon", "?unheard=of"])
@pytest.mark.parametrize("body", [GOOD, b"{", b" " * 1_048_577], ids=["good", "broken", "large"])
def test_the_login_is_checked_before_anything_else(
    device: Device, body: bytes, query: str, key: dict[str, str]
) -> None:
    answer = device.request("POST", f"{PATH}{query}", body, auth=WRONG, headers=key)
    assert answer.status_code == 401


@pytest.mark.parametrize(
    "headers", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://attacker.example"}]
)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_a_change_from_another_site_is_a_403_and_changes_nothing(
    device: Device, opennebula: OpenNebula, method: str, headers: dict[str, str]
) -> None:
    runtime = device.create()
    before = opennebula.holdings()
    path = PATH if method == "POST" else f"{PATH}/{runtime['ID']}"
    answer = device.request(method, path, GOOD, headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (403, "Request from another site")
    assert opennebula.holdings() == before
    assert device.get(runtime["ID"]).status_code == 200


class Verbatim(requests.auth.AuthBase):
    """Sets the Authorization header to a text, or omits it."""

    def __init__(self, header: str | None) -> None:
        self.header = header

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self.header is not None:
            request.headers["Authorization"] = self.header
        return request


@pytest.mark.parametrize(
    "query", ["", "?limit=1", "?after=5&before=6", "?limit=1&after=5&before=3"]
)
def test_a_list_of_nothing_is_a_401_with_a_wrong_password_too(device: Device, query: str) -> None:
    """Nothing has to be read for it, so the credentials would not be checked in passing."""
    assert device.request("GET", f"{PATH}{query}", auth=WRONG).status_code == 401
    assert device.request("GET", f"{PATH}{query}").json() == []


def test_the_callers_password_is_in_no_error(device: Device) -> None:
    secret = "Tr0ub4dor&3"
    answer = device.request("GET", f"{PATH}/{NO_ID}", auth=("devuser", secret))
    encoded = base64.b64encode(f"devuser:{secret}".encode()).decode()
    assert answer.status_code == 401
    assert secret not in answer.text
    assert encoded not in answer.text


@pytest.mark.parametrize(
    "runtime_id",
    ["999999", str(NO_ID), "0x10", "-1", "1.5", "abc", str(2**31), str(2**64), "9" * 400,
     "%20", "1%20", "%D9%A1", "1;2", "schema2", "+1", "1e3", "%00", "..%2f1"],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_an_unknown_runtime_is_a_404(device: Device, method: str, runtime_id: str) -> None:
    assert device.request(method, f"{PATH}/{runtime_id}", GOOD).status_code == 404


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_a_document_of_another_type_is_not_a_runtime(
    device: Device, opennebula: OpenNebula, method: str
) -> None:
    flow_template_id = opennebula.flow_template_id(FLAVOUR)
    assert device.request(method, f"{PATH}/{flow_template_id}", GOOD).status_code == 404


def test_a_service_is_not_a_runtime(device: Device) -> None:
    runtime = device.create()
    assert device.get(runtime["SERVICE_ID"]).status_code == 404
    assert device.delete(runtime["SERVICE_ID"]).status_code == 404


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_the_runtime_of_another_user_is_forbidden(
    device: Device, stranger: Device, method: str
) -> None:
    runtime = device.create()
    assert stranger.request(method, f"{PATH}/{runtime['ID']}", GOOD).status_code == 403


@pytest.mark.parametrize("path", ["/nothing", "/serverless-runtimes/1/more", "/server", "/%00"])
def test_an_unknown_path_is_a_404(device: Device, path: str) -> None:
    assert device.request("GET", path).status_code == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PATCH", f"{PATH}/1"),
        ("POST", f"{PATH}/1"),
        ("PUT", PATH),
        ("DELETE", PATH),
        ("POST", "/server/version"),
        ("DELETE", "/"),
        ("OPTIONS", "/"),
        ("BREW", PATH),
    ],
)
def test_a_wrong_method_is_a_405_that_names_the_right_ones(
    device: Device, method: str, path: str
) -> None:
    answer = device.request(method, path)
    assert answer.status_code == 405
    assert answer.headers["Allow"]


def test_credentials_are_checked_before_existence_and_existence_before_the_body(
    device: Device,
) -> None:
    assert device.request("PUT", f"{PATH}/{NO_ID}", b"{", auth=WRONG).status_code == 401
    assert device.request("PUT", f"{PATH}/abc", b"{", auth=WRONG).status_code == 401
    assert device.request("PUT", f"{PATH}/{NO_ID}", b"{").status_code == 404
    runtime = device.create()
    assert device.request("PUT", f"{PATH}/{runtime['ID']}", b"{", auth=WRONG).status_code == 401
    assert device.request("PUT", f"{PATH}/{runtime['ID']}", b"{").status_code == 400
    assert device.request("DELETE", f"{PATH}/abc", auth=WRONG).status_code == 401
    assert device.request("DELETE", f"{PATH}/{runtime['ID']}", auth=WRONG).status_code == 401
    assert device.request("DELETE", f"{PATH}/abc").status_code == 404


def test_the_body_is_checked_before_the_state(device: Device, sandbox: Sandbox) -> None:
    runtime = device.create_running()
    sandbox.store.put_vm(runtime["FAAS"]["VM_ID"], "POWEROFF")
    assert device.request("PUT", f"{PATH}/{runtime['ID']}", b"{").status_code == 400


BACKEND_FAULTS = [
    ("refuse", 503),
    ("hang", 504),
    ("cut", 502),
    ("garbage", 502),
    ("error", 502),
]


@pytest.fixture
def hurried(stage: Stage, device: Device) -> Any:
    """A device whose engine has a timeout of a second."""
    with stage.another_engine("timeout: 1\ncache: {seconds: 0}\n") as url:
        yield Device(url, device.user)


@pytest.mark.parametrize(("kind", "status"), BACKEND_FAULTS)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "POST"])
def test_each_failure_of_oned_has_its_status(
    hurried: Device, device: Device, sandbox: Sandbox, method: str, kind: str, status: int
) -> None:
    runtime = device.create_running()
    path = PATH if method == "POST" else f"{PATH}/{runtime['ID']}"
    sandbox.faults.set("oned", kind)
    answer = hurried.request(method, path, GOOD)
    sandbox.faults.clear()
    assert answer.status_code == status
    if status == 503:
        assert int(answer.headers["Retry-After"]) >= 1
    assert device.read(runtime["ID"])["FAAS"]["STATE"] == "RUNNING"


@pytest.mark.parametrize(("kind", "status"), BACKEND_FAULTS)
def test_a_failure_of_oneflow_during_a_create_leaves_nothing(
    hurried: Device, sandbox: Sandbox, opennebula: OpenNebula, kind: str, status: int
) -> None:
    """If oneflow may have started the service, it is found and removed."""
    before = opennebula.holdings()
    sandbox.faults.set("oneflow", kind, method="POST /service_template", times=1)
    answer = hurried.post(FAAS=small())
    sandbox.faults.clear()
    assert answer.status_code == status
    # A VM that cannot be terminated yet carries an order to end it.
    assert until(
        lambda: opennebula.holdings() | {"runtimes": set()} == before | {"runtimes": set()}
    )
    left = opennebula.ids(RUNTIME) - before["runtimes"]
    for runtime_id in left:
        # It is invisible; a later request removes it, since the service may still appear.
        assert hurried.get(runtime_id).status_code == 404
        opennebula.call("document.delete", runtime_id)


@pytest.mark.parametrize(
    ("kind", "status"), [("refuse", 503), ("hang", 504), ("error", 502), ("garbage", 502)]
)
def test_a_failure_of_oneflow_during_a_delete_leaves_a_runtime_to_delete(
    hurried: Device,
    device: Device,
    opennebula: OpenNebula,
    sandbox: Sandbox,
    kind: str,
    status: int,
) -> None:
    """After a 204 everything that is left will be cleaned up."""
    runtime = device.create_running()
    until(lambda: opennebula.service_state(runtime["SERVICE_ID"]) == 2)
    sandbox.faults.set("oneflow", kind, method="DELETE /service")
    answer = hurried.delete(runtime["ID"])
    sandbox.faults.clear()
    try:
        assert answer.status_code == status
        assert device.delete(runtime["ID"]).status_code == 204
    finally:
        opennebula.end_service(runtime["SERVICE_ID"])
        opennebula.refusal("document.delete", runtime["ID"])


@pytest.mark.parametrize("kind", [kind for kind, _ in BACKEND_FAULTS])
def test_reads_work_when_oneflow_fails(device: Device, sandbox: Sandbox, kind: str) -> None:
    runtime = device.create_running()
    sandbox.faults.set("oneflow", kind)
    assert device.read(runtime["ID"])["FAAS"]["STATE"] == "RUNNING"


def test_a_valid_request_id_is_returned(device: Device) -> None:
    answer = device.request("GET", f"{PATH}/{NO_ID}", headers={"X-Request-ID": "lamp-7.a_B"})
    assert answer.headers["X-Request-ID"] == "lamp-7.a_B"


@pytest.mark.parametrize(
    "sent", ["", "x" * 65, "a b", 'a"b', "a;b", "é".encode().decode("latin-1")]
)
def test_an_invalid_request_id_is_replaced(device: Device, sent: str) -> None:
    answer = device.request("GET", "/", headers={"X-Request-ID": sent})
    assert answer.headers["X-Request-ID"] not in ("", sent)


def test_each_request_has_its_own_id(device: Device) -> None:
    assert len({device.request("GET", "/").headers["X-Request-ID"] for _ in range(20)}) == 20


def test_an_unreachable_backend_is_a_503_and_the_engine_stays_up(device: Device) -> None:
    from .conftest import engine

    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    dead = f"http://127.0.0.1:{port}"
    with engine(f"{dead}/RPC2", dead) as url:
        answer = Device(url, device.user).post(FAAS=small())
        assert answer.status_code == 503
        assert Device(url, device.user).request("GET", "/").status_code == 200
