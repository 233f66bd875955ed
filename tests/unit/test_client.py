"""The Python client, with hand-made responses."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
import requests
import responses
from responses import matchers

from provision_engine import client as module
from provision_engine.client import Client, Function, Runtime, specification, transport
from provision_engine.client import client as operations

URL = "http://engine.test:1337"
RUNTIMES = f"{URL}/serverless-runtimes"
FAAS = {"FLAVOUR": "nature", "CPU": 2, "MEMORY": 512, "DISK_SIZE": 1025, "VM_ID": 7}
BODY = {
    "NAME": "lamp",
    "ID": 851,
    "SERVICE_ID": 850,
    "FAAS": {**FAAS, "STATE": "RUNNING", "ENDPOINT": "10.0.0.7", "SINCE": "2026-11-24T03:00:00Z"},
    "SCHEDULING": {"POLICY": "energy"},
    "DEVICE_INFO": {"LATENCY_TO_PE": 0.36},
    "LEASE": {"TTL": 60, "EXPIRES": "2026-11-24T04:00:00Z"},
}
LOST = requests.exceptions.ConnectionError("Connection reset by peer")


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that the client makes, none of which is waited for."""
    made: list[float] = []
    monkeypatch.setattr("time.sleep", made.append)
    return made


@pytest.fixture
def api() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock() as mock:
        yield mock


@pytest.fixture
def client() -> Iterator[Client]:
    with Client(f"{URL}/", "devuser", "pass:wörd") as made:
        yield made


def answer(body: dict[str, Any] | None = None, **state: Any) -> dict[str, Any]:
    members = {**(body or BODY)}
    if state:
        members["FAAS"] = {**members["FAAS"], **state}
    return {"SERVERLESS_RUNTIME": members}


def error(title: str = "Not found", message: Any = "there is none") -> dict[str, Any]:
    return {"error": title, "message": message}


def test_all_members_of_a_runtime_are_read() -> None:
    runtime = Runtime.from_json(BODY, '"tag"')
    assert (runtime.id, runtime.name, runtime.service_id) == (851, "lamp", 850)
    assert runtime.faas == Function(
        "nature", 2, 512, 1025, 7, "RUNNING", "10.0.0.7", "", datetime(2026, 11, 24, 3, tzinfo=UTC)
    )
    assert (runtime.daas, runtime.state, runtime.reason) == (None, "RUNNING", "")
    assert (runtime.lease_seconds, runtime.expires) == (60, datetime(2026, 11, 24, 4, tzinfo=UTC))
    assert (runtime.etag, runtime.body) == ('"tag"', BODY)


@pytest.mark.parametrize(
    ("faas", "daas", "whole"),
    [
        ("RUNNING", "RUNNING", "RUNNING"),
        ("PENDING", "RUNNING", "PENDING"),
        ("RUNNING", "UPDATING", "UPDATING"),
        ("PENDING", "ERROR", "ERROR"),
    ],
)
def test_the_state_of_a_runtime_is_the_worst_of_its_functions(
    faas: str, daas: str, whole: str
) -> None:
    body = {"ID": 1, "FAAS": {**FAAS, "STATE": faas}, "DAAS": {**FAAS, "STATE": daas}}
    assert Runtime.from_json(body).state == whole


def test_only_given_members_are_sent() -> None:
    assert specification(faas=Function("nature")) == {
        "SERVERLESS_RUNTIME": {"FAAS": {"FLAVOUR": "nature"}}
    }
    full = specification(
        faas=Function("nature", cpu=1),
        daas=Function("s3", disk_size_mb=9),
        name="n",
        policy="p",
        requirements="r",
        device_info={"X": 1},
        lease_seconds=60,
    )["SERVERLESS_RUNTIME"]
    assert full == {
        "NAME": "n",
        "FAAS": {"FLAVOUR": "nature", "CPU": 1},
        "DAAS": {"FLAVOUR": "s3", "DISK_SIZE": 9},
        "SCHEDULING": {"POLICY": "p", "REQUIREMENTS": "r"},
        "DEVICE_INFO": {"X": 1},
        "LEASE": {"TTL": 60},
    }


def test_user_and_password_are_sent_as_utf_8(client: Client, api: responses.RequestsMock) -> None:
    api.get(f"{RUNTIMES}/851", json=answer(), headers={"ETag": '"tag"'})
    assert client.get_runtime(851).etag == '"tag"'
    expected = requests.auth._basic_auth_str(b"devuser", "pass:wörd".encode())
    assert api.calls[0].request.headers["Authorization"] == expected


def test_a_wait_extends_the_timeout(client: Client, api: responses.RequestsMock) -> None:
    waits = matchers.query_param_matcher({"wait": "30"})
    api.get(f"{RUNTIMES}/851", json=answer(), match=[waits])
    assert client.get_runtime(851, wait_seconds=30).id == 851
    connect_seconds, read_seconds = api.calls[0].request.req_kwargs["timeout"]
    assert (connect_seconds, read_seconds) == (5.0, 120.0)


# ---- repeating -----------------------------------------------------------------------------


def keys(api: responses.RequestsMock) -> set[str]:
    return {call.request.headers["Idempotency-Key"] for call in api.calls}


@pytest.mark.parametrize("status", [429, 503, 423])
def test_a_create_is_repeated_with_the_same_key_when_the_engine_is_busy(
    client: Client, api: responses.RequestsMock, pauses: list[float], status: int
) -> None:
    api.post(RUNTIMES, status=status, json=error(), headers={"Retry-After": "7"})
    api.post(RUNTIMES, status=201, json=answer())
    assert client.create_runtime(Function("nature")).id == 851
    assert len(api.calls) == 2
    assert len(keys(api)) == 1
    assert 7 <= pauses[0] <= 7 * 1.2


def test_a_create_is_repeated_with_the_same_key_when_the_connection_breaks(
    client: Client, api: responses.RequestsMock
) -> None:
    api.post(RUNTIMES, body=LOST)
    api.post(RUNTIMES, status=200, json=answer())
    assert client.create_runtime(Function("nature")).id == 851
    assert len(keys(api)) == 1


def test_each_create_has_a_key_of_its_own_unless_one_is_given(
    client: Client, api: responses.RequestsMock
) -> None:
    api.post(RUNTIMES, status=201, json=answer())
    for key in ("", "", "mine", "mine"):
        client.create_runtime(Function("nature"), key=key)
    assert len(keys(api)) == 3
    assert "mine" in keys(api)


def test_the_number_of_attempts_is_limited(
    client: Client, api: responses.RequestsMock, pauses: list[float]
) -> None:
    api.get(f"{RUNTIMES}/851", status=503, json=error("Away", "oned: refused"))
    with pytest.raises(module.Busy) as raised:
        client.get_runtime(851)
    assert (raised.value.status, raised.value.error) == (503, "Away")
    assert len(api.calls) == operations.TRIES
    assert len(pauses) == operations.TRIES - 1
    assert pauses == sorted(pauses)


def test_a_broken_connection_is_reported_with_its_cause(
    client: Client, api: responses.RequestsMock
) -> None:
    api.get(f"{RUNTIMES}/851", body=LOST)
    with pytest.raises(module.Unreachable, match="reset by peer") as raised:
        client.get_runtime(851)
    assert raised.value.status is None
    assert len(api.calls) == operations.TRIES


def test_a_pause_is_never_longer_than_the_client_s_own_limit(
    client: Client, api: responses.RequestsMock, pauses: list[float]
) -> None:
    api.get(f"{RUNTIMES}/851", status=429, json=error(), headers={"Retry-After": "86400"})
    api.get(f"{RUNTIMES}/851", json=answer())
    client.get_runtime(851)
    assert pauses[0] <= transport.LONGEST_PAUSE_SECONDS * 1.2


def test_retry_after_may_be_a_date(
    client: Client, api: responses.RequestsMock, pauses: list[float]
) -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
    for text in (later, "soon"):
        api.get(f"{RUNTIMES}/851", status=429, json=error(), headers={"Retry-After": text})
    api.get(f"{RUNTIMES}/851", json=answer())
    client.get_runtime(851)
    assert 15 < pauses[0] < 25
    assert 0 < pauses[1] < 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 412, 422, 500, 502, 504])
def test_nothing_else_is_repeated(client: Client, api: responses.RequestsMock, status: int) -> None:
    api.post(RUNTIMES, status=status, json=error())
    with pytest.raises(module.ClientError) as raised:
        client.create_runtime(Function("nature"))
    assert raised.value.status == status
    assert len(api.calls) == 1


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.update_runtime(851, name="x", if_match='"tag"'),
        lambda c: c.delete_runtime(851, if_match='"tag"'),
    ],
)
def test_a_conditional_change_is_not_repeated_after_a_lost_response(
    client: Client, api: responses.RequestsMock, call: Callable[[Client], Any]
) -> None:
    for method in ("PUT", "DELETE"):
        api.add(method, f"{RUNTIMES}/851", body=LOST)
    api.assert_all_requests_are_fired = False
    with pytest.raises(module.Unreachable):
        call(client)
    assert len(api.calls) == 1
    assert api.calls[0].request.headers["If-Match"] == '"tag"'


def test_a_404_after_a_lost_delete_response_is_success(
    client: Client, api: responses.RequestsMock
) -> None:
    api.delete(f"{RUNTIMES}/851", body=LOST)
    api.delete(f"{RUNTIMES}/851", status=404, json=error())
    client.delete_runtime(851)
    assert len(api.calls) == 2


def test_a_404_without_a_lost_response_is_an_error(
    client: Client, api: responses.RequestsMock
) -> None:
    api.delete(f"{RUNTIMES}/851", status=404, json=error())
    with pytest.raises(module.NotFound):
        client.delete_runtime(851)


# ---- errors --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, module.BadRequest),
        (401, module.Unauthorized),
        (403, module.Forbidden),
        (404, module.NotFound),
        (409, module.Conflict),
        (412, module.Changed),
        (422, module.Unprocessable),
        (423, module.Locked),
        (500, module.ClientError),
    ],
)
def test_an_error_has_a_class_and_all_its_details(
    client: Client,
    api: responses.RequestsMock,
    status: int,
    kind: type[module.ClientError],
) -> None:
    details = {"FAAS": "VM was powered off"}
    api.put(
        f"{RUNTIMES}/851", status=status, json=error("So", details), headers={"X-Request-ID": "ab"}
    )
    with pytest.raises(module.ClientError) as raised:
        client.update_runtime(851, name="x")
    assert type(raised.value) is kind
    found = raised.value
    assert (found.status, found.error, found.message) == (status, "So", details)
    assert found.request_id == "ab"
    assert str(found) == f"So: {details}"


@pytest.mark.parametrize("body", ["<html>Bad gateway</html>", "", "[]", '{"error": 1}', "null"])
def test_a_response_of_a_proxy_is_an_error(
    client: Client, api: responses.RequestsMock, body: str
) -> None:
    api.get(f"{RUNTIMES}/851", status=502, body=body)
    with pytest.raises(module.ClientError, match="502"):
        client.get_runtime(851)


@pytest.mark.parametrize("body", ["<html>Hello</html>", "[]", "{}", '{"SERVERLESS_RUNTIME": 1}'])
def test_a_response_of_another_server_is_recognised(
    client: Client, api: responses.RequestsMock, body: str
) -> None:
    api.get(f"{RUNTIMES}/851", body=body)
    with pytest.raises(module.ClientError, match="Provisioning Engine"):
        client.get_runtime(851)


def test_the_password_is_sent_nowhere_else(client: Client, api: responses.RequestsMock) -> None:
    api.get(f"{RUNTIMES}/851", status=307, headers={"Location": "http://elsewhere.test/"})
    with pytest.raises(module.ClientError):
        client.get_runtime(851)
    assert [call.request.url for call in api.calls] == [f"{RUNTIMES}/851"]


# ---- pages, and waiting ----------------------------------------------------------------------


def test_a_list_follows_its_pages(client: Client, api: responses.RequestsMock) -> None:
    first = matchers.query_param_matcher({"name": "lamp", "limit": "2"})
    second = matchers.query_param_matcher({"name": "lamp", "limit": "2", "after": "2"})
    link = '</serverless-runtimes?name=lamp&limit=2&after=2>; rel="next"'
    pages = [[answer({**BODY, "ID": n}) for n in ids] for ids in ((1, 2), (3,))]
    api.get(RUNTIMES, json=pages[0], match=[first], headers={"Link": link})
    api.get(RUNTIMES, json=pages[1], match=[second])
    found = client.list_runtimes(name="lamp", page_size=2)
    assert [runtime.id for runtime in found] == [1, 2, 3]


def test_a_page_elsewhere_is_not_followed_with_the_password(
    client: Client, api: responses.RequestsMock
) -> None:
    api.get(RUNTIMES, json=[], headers={"Link": '<http://elsewhere.test/x>; rel="next"'})
    api.get(f"{URL}/x", json=[])
    assert list(client.list_runtimes()) == []
    assert all(str(call.request.url).startswith(URL) for call in api.calls)


def test_it_waits_until_all_functions_are_running(
    client: Client, api: responses.RequestsMock
) -> None:
    for state in ("PENDING", "UPDATING", "RUNNING"):
        api.get(f"{RUNTIMES}/851", json=answer(STATE=state))
    seen: list[str] = []
    runtime = client.wait_until_running(851, 100, lambda r: seen.append(r.state))
    assert runtime.state == "RUNNING"
    assert seen == ["PENDING", "UPDATING", "RUNNING"]
    waits = [call.request.params["wait"] for call in api.calls]
    assert all(0 < float(wait) <= operations.LONGEST_WAIT_SECONDS for wait in waits)


def test_a_runtime_that_fails_ends_the_wait(client: Client, api: responses.RequestsMock) -> None:
    api.get(f"{RUNTIMES}/851", json=answer(STATE="ERROR", REASON="VM was powered off"))
    with pytest.raises(module.RuntimeFailed, match="FAAS: VM was powered off") as raised:
        client.wait_until_running(851)
    assert raised.value.runtime.id == 851


def test_a_wait_without_time_is_one_read(client: Client, api: responses.RequestsMock) -> None:
    api.get(f"{RUNTIMES}/851", json=answer(STATE="PENDING", REASON="VM waits for a host"))
    with pytest.raises(module.StillWaiting, match="waits for a host"):
        client.wait_until_running(851, 0)
    assert len(api.calls) == 1


def test_polling_pauses_if_the_engine_does_not_hold_its_response(
    client: Client, api: responses.RequestsMock, pauses: list[float]
) -> None:
    for state in ("PENDING", "PENDING", "RUNNING"):
        api.get(f"{RUNTIMES}/851", json=answer(STATE=state))
    client.wait_until_running(851)
    assert len(pauses) == 2
    assert min(pauses) > 0


def test_it_imports_nothing_of_the_engine_but_the_version() -> None:
    imported = set()
    for path in Path(module.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported |= {f"{node.module}.{alias.name}" for alias in node.names}
    ours = {name for name in imported if name.startswith("provision_engine")}
    assert {name for name in ours if not name.startswith("provision_engine.client")} == {
        "provision_engine.__version__"
    }


# ---- suspend, resume, recover; flavours, timelines, warnings ---------------------------------


@pytest.mark.parametrize("action", ["suspend", "resume", "recover"])
def test_an_action_is_a_post_that_can_wait(
    client: Client, api: responses.RequestsMock, action: str
) -> None:
    waits = matchers.query_param_matcher({"wait": "9"})
    api.post(f"{RUNTIMES}/851/{action}", json=answer(STATE="SUSPENDED"), match=[waits])
    runtime = getattr(client, f"{action}_runtime")(851, wait_seconds=9)
    assert (runtime.id, runtime.state) == (851, "SUSPENDED")


@pytest.mark.parametrize(("replace", "query"), [(False, {}), (True, {"replace": "true"})])
def test_a_replacement_is_requested_only_when_it_is_allowed(
    client: Client, api: responses.RequestsMock, replace: bool, query: dict[str, str]
) -> None:
    matching = [matchers.query_param_matcher(query)]
    api.post(f"{RUNTIMES}/851/recover", json=answer(), match=matching)
    assert client.recover_runtime(851, replace=replace).id == 851


def test_it_waits_for_a_suspension(client: Client, api: responses.RequestsMock) -> None:
    for state in ("RUNNING", "UPDATING", "SUSPENDED"):
        api.get(f"{RUNTIMES}/851", json=answer(STATE=state))
    assert client.wait_for_state(851, "SUSPENDED").state == "SUSPENDED"
    assert len(api.calls) == 3


def test_flavours_are_read_with_their_findings(client: Client, api: responses.RequestsMock) -> None:
    good = {"FLAVOURS": "nature", "FLOW_TEMPLATE": 10, "DEPLOYABLE": True, "FAAS": {"CPU": 1}}
    finding = {"TEXT": "no VM template 999", "HINT": "name another", "FATAL": True}
    bad = {"FLAVOURS": "x", "FLOW_TEMPLATE": 11, "DEPLOYABLE": False, "FINDINGS": [finding]}
    api.get(f"{URL}/flavours", json=[good, bad])
    nature, other = client.flavours()
    assert (nature.name, nature.is_deployable, nature.functions["FAAS"].cpu) == ("nature", True, 1)
    assert (other.is_deployable, other.findings) == (False, ("no VM template 999",))


def test_a_timeline_is_read(client: Client, api: responses.RequestsMock) -> None:
    steps = [{"STEP": "VM", "FUNCTION": "FAAS", "AT": "2026-11-24T03:00:00Z"}]
    api.get(f"{RUNTIMES}/851/timeline", json={"STEPS": steps})
    (step,) = client.timeline(851)
    assert (step.name, step.role, step.at) == ("VM", "FAAS", datetime(2026, 11, 24, 3, tzinfo=UTC))


@pytest.mark.parametrize(
    ("header", "texts"),
    [
        (None, ()),
        ('299 - "FAAS.MEM is ignored"', ("FAAS.MEM is ignored",)),
        ('299 - "a", 299 - "b \\"c\\""', ("a", 'b "c"')),
        ("no quotes", ("no quotes",)),
    ],
)
def test_warnings_of_a_create_are_read(
    client: Client, api: responses.RequestsMock, header: str | None, texts: tuple[str, ...]
) -> None:
    headers = {} if header is None else {"Warning": header}
    api.post(RUNTIMES, status=201, json=answer(), headers=headers)
    assert client.create_runtime(Function("nature")).warnings == texts


def test_newest_first_is_sent_only_on_request(client: Client, api: responses.RequestsMock) -> None:
    for query in ({"limit": "100"}, {"limit": "100", "order": "desc"}):
        api.get(RUNTIMES, json=[], match=[matchers.query_param_matcher(query)])
    assert list(client.list_runtimes()) == []
    assert list(client.list_runtimes(newest_first=True)) == []


def test_newer_members_are_read_if_present() -> None:
    function = {**FAAS, "STATE": "PENDING", "REASON": "waits", "REASON_CODE": "WAITING"}
    runtime = Runtime.from_json({"ID": 1, "FAAS": function, "CREATED": "2026-11-24T03:00:00Z"})
    assert runtime.faas.reason_code == "WAITING"
    assert runtime.created == datetime(2026, 11, 24, 3, tzinfo=UTC)


def test_a_certificate_that_is_not_trusted_is_not_tried_again(
    client: Client, api: responses.RequestsMock
) -> None:
    untrusted = requests.exceptions.SSLError("certificate verify failed")
    api.get(f"{RUNTIMES}/851", body=untrusted)
    with pytest.raises(module.Unusable, match="certificate verify failed"):
        client.get_runtime(851)
    assert len(api.calls) == 1


def test_a_404_of_another_server_is_not_a_missing_runtime(
    client: Client, api: responses.RequestsMock
) -> None:
    api.get(f"{RUNTIMES}/851", status=404, body="<html>nothing here</html>")
    with pytest.raises(module.NotAnEngine):
        client.get_runtime(851)
