"""Every status of the contract, and the form of all errors."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.support.engine import engine_in_process
from tests.support.opennebula import RUNTIME
from tests.support.ports import free_port

from .device import PATH, WRONG, Device, small
from .settings import FLAVOUR

NO_ID = 2**31 - 1
GOOD = b'{"SERVERLESS_RUNTIME": {"FAAS": {"FLAVOUR": "%s"}}}' % FLAVOUR.encode()
WRONG_SIZES = (b'"2"', b"true", b"0", b"-1", b"0.5")
WRONG_MEMBERS = (
    b'"NAME": []',
    b'"NAME": true',
    b'"NAME": 5',
    b'"SCHEDULING": "x"',
    b'"SCHEDULING": []',
    b'"SCHEDULING": {"POLICY": {}}',
    b'"DEVICE_INFO": {"LATENCY_TO_PE": "1"}',
    b'"LEASE": {"TTL": true}',
)
FUNCTION = b'{"SERVERLESS_RUNTIME": {"FAAS": {"FLAVOUR": "f", %s}}}'
RUNTIME_OF = b'{"SERVERLESS_RUNTIME": {"FAAS": {"FLAVOUR": "f"}, %s}}'
HOSTILE_BODIES = {
    "nothing": b"",
    "half an object": b"{",
    "half a body": b'{"SERVERLESS_RUNTIME": {"FAAS"',
    "text": b"hello",
    "a list": b"[]",
    "a number": b"3",
    "null": b"null",
    "no runtime": b"{}",
    "null runtime": b'{"SERVERLESS_RUNTIME": null}',
    "a list of runtimes": b'{"SERVERLESS_RUNTIME": [{}]}',
    "no UTF-8": b'{"SERVERLESS_RUNTIME": {"NAME": "\xff\xfe"}}',
    "UTF-16": '{"SERVERLESS_RUNTIME": {}}'.encode("utf-16"),
    "NUL": b"\0" * 64,
    "an escaped NUL": RUNTIME_OF % b'"NAME": "\\u0000"',
    "half a character": RUNTIME_OF % b'"NAME": "\\ud83d"',
    "not a number": FUNCTION % b'"CPU": NaN',
    "infinity": RUNTIME_OF % b'"DEVICE_INFO": {"LATENCY_TO_PE": Infinity}',
    "too large a float": RUNTIME_OF % b'"DEVICE_INFO": {"LATENCY_TO_PE": 1e999}',
    "too large a size": FUNCTION % b'"CPU": 1e999',
    "a huge integer": FUNCTION % (b'"MEMORY": ' + b"9" * 400),
    "a huger integer": FUNCTION % (b'"MEMORY": ' + b"9" * 10_000),
    "a huge number of a device": RUNTIME_OF % (b'"DEVICE_INFO": {"N": ' + b"9" * 5_000 + b"}"),
    "twins": b'{"SERVERLESS_RUNTIME": {"FAAS": {"FLAVOUR": "a", "FLAVOUR": "b"}}}',
    "deep lists": b'{"SERVERLESS_RUNTIME": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep objects": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "deep inside": RUNTIME_OF % (b'"X": ' + b"[" * 90_000 + b"]" * 90_000),
    "a megabyte": RUNTIME_OF % (b'"NAME": "' + b"A" * 1_000_000 + b'"'),
    "a megabyte inside": RUNTIME_OF % (b'"DEVICE_INFO": {"A": "' + b"A" * 1_000_000 + b'"}'),
    **{f"CPU {cpu.decode()}": FUNCTION % (b'"CPU": ' + cpu) for cpu in WRONG_SIZES},
    "a flavour is a number": b'{"SERVERLESS_RUNTIME": {"FAAS": {"FLAVOUR": 1}}}',
    "a function is null": b'{"SERVERLESS_RUNTIME": {"FAAS": null}}',
    **{member.decode(): RUNTIME_OF % member for member in WRONG_MEMBERS},
}


@pytest.mark.parametrize("body", HOSTILE_BODIES.values(), ids=HOSTILE_BODIES)
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_an_invalid_body_is_a_400_and_nothing_is_done(
    device: Device, method: str, body: bytes
) -> None:
    document = '<TEMPLATE><NAME>n</NAME><BODY>{"FAAS": {"FLAVOUR": "f"}}</BODY></TEMPLATE>'
    runtime_id = device.one.call("document.allocate", document, RUNTIME)
    before = device.one.holdings()
    already = len(device.stage.sandbox.calls) if device.stage.sandbox else 0
    answer = device.request(method, PATH if method == "POST" else f"{PATH}/{runtime_id}", body)
    made = device.stage.sandbox.calls[already:] if device.stage.sandbox else []
    after = device.one.holdings()
    device.one.call("document.delete", runtime_id)
    assert answer.status == 400
    assert answer.json["message"]
    assert after == before
    assert not [call for call in made if call.backend == "oneflow"]


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
    assert answer.status == 400
    assert place in answer.json["message"]


def test_a_body_over_the_limit_is_a_413_and_one_of_the_limit_is_read(device: Device) -> None:
    assert device.request("POST", PATH, b" " * 1_048_577).status == 413
    assert device.request("POST", PATH, b"{" + b" " * (1_048_576 - 1)).status == 400


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


@pytest.mark.parametrize("text", HEADERS.values(), ids=HEADERS)
@pytest.mark.parametrize("method", ["POST", "GET", "PUT", "DELETE"])
def test_missing_malformed_or_wrong_credentials_are_a_401(
    device: Device, method: str, text: str | None
) -> None:
    path = PATH if method == "POST" else f"{PATH}/{NO_ID}"
    header = {} if text is None else {"Authorization": text}
    answer = device.request(method, path, GOOD, user=None, headers=header)
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"].startswith("Basic")


@pytest.mark.parametrize("key", [{}, {"Idempotency-Key": "key"}], ids=["", "key"])
@pytest.mark.parametrize("query", ["", "?dry_run=true", "?wait=soon", "?unheard=of"])
@pytest.mark.parametrize("body", [GOOD, b"{", b" " * 1_048_577], ids=["good", "broken", "large"])
def test_the_login_is_checked_before_anything_else(
    device: Device, body: bytes, query: str, key: dict[str, str]
) -> None:
    answer = device.request("POST", f"{PATH}{query}", body, user=WRONG, headers=key)
    assert answer.status == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://attacker.example"},
        {"Origin": "null"},
    ],
)
def test_a_change_from_another_site_is_a_403_and_changes_nothing(
    device: Device, headers: dict[str, str]
) -> None:
    """A browser adds the user's Basic credentials by itself; the body is text/plain."""
    runtime = device.create()
    before, own = device.one.holdings(), f"{PATH}/{runtime['ID']}"
    for method, path in (("POST", PATH), ("PUT", own), ("DELETE", own), ("POST", f"{own}/suspend")):
        sent = headers | {"Content-Type": "text/plain"}
        answer = device.request(method, path, GOOD, headers=sent)
        assert (answer.status, answer.json["error"]) == (403, "Request from another site")
    assert device.one.holdings() == before
    assert device.get(runtime["ID"]).status == 200


@pytest.mark.parametrize(
    "query", ["", "?limit=1", "?after=5&before=6", "?limit=1&after=5&before=3"]
)
def test_a_list_of_nothing_is_a_401_with_a_wrong_password_too(device: Device, query: str) -> None:
    """Nothing has to be read for it, so the credentials would not be checked in passing."""
    assert device.request("GET", f"{PATH}{query}", user=WRONG).status == 401
    assert device.request("GET", f"{PATH}{query}").json == []


@pytest.mark.parametrize(
    "runtime_id",
    ["999999", str(NO_ID), "0x10", "-1", "1.5", "abc", str(2**31), str(2**64), "9" * 400,
     "%20", "1%20", "%D9%A1", "1;2", "schema2", "+1", "1e3", "%00", "..%2f1"],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_an_unknown_runtime_is_a_404(device: Device, method: str, runtime_id: str) -> None:
    assert device.request(method, f"{PATH}/{runtime_id}", GOOD).status == 404
    assert device.act(runtime_id, "recover").status == 404


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_a_document_of_another_type_is_not_a_runtime(device: Device, method: str) -> None:
    flow_template_id = device.one.flow_template_id(FLAVOUR)
    assert device.request(method, f"{PATH}/{flow_template_id}", GOOD).status == 404


def test_the_runtime_of_another_user_is_forbidden(device: Device, stranger: Device) -> None:
    runtime = device.create_running()
    path = f"{PATH}/{runtime['ID']}"
    for method in ("GET", "PUT", "DELETE"):
        assert stranger.request(method, path, GOOD).status == 403
    for action in ("recover", "suspend", "resume"):
        assert stranger.act(runtime["ID"], action).status == 403
    assert device.read(runtime["ID"]) == runtime


@pytest.mark.parametrize("path", ["/nothing", "/serverless-runtimes/1/more", "/server", "/%00"])
def test_an_unknown_path_is_a_404(device: Device, path: str) -> None:
    assert device.request("GET", path).status == 404


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
    assert answer.status == 405
    assert answer.headers["Allow"]


def test_credentials_are_checked_before_existence_before_the_body_before_the_state(
    device: Device,
) -> None:
    runtime = device.create_running()
    device.one.call("vm.action", "poweroff-hard", runtime["FAAS"]["VM_ID"])
    for number in (NO_ID, "abc", runtime["ID"]):
        for method in ("PUT", "DELETE"):
            path = f"{PATH}/{number}"
            assert device.request(method, path, b"{", user=WRONG).status == 401
    for number in (NO_ID, "abc"):
        assert device.request("PUT", f"{PATH}/{number}", b"{").status == 404
    assert device.request("DELETE", f"{PATH}/abc").status == 404
    assert device.request("PUT", f"{PATH}/{runtime['ID']}", b"{").status == 400


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
    dead = f"http://127.0.0.1:{free_port()}"
    urls = {"one_xmlrpc": f"{dead}/RPC2", "oneflow_server": dead}
    with engine_in_process(urls) as url:
        other = device.stage.device(url=url)
        assert other.post(FAAS=small()).status == 503
        assert other.request("GET", "/").status == 200
