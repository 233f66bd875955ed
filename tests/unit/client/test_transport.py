"""How the Python client repeats requests, and its errors."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
import responses

from provision_engine import client as module
from provision_engine.client import Client, Function, transport

from .samples import LOST, RUNTIMES, error, response

# ---- repeating -----------------------------------------------------------------------------


def keys(api: responses.RequestsMock) -> set[str]:
    return {call.request.headers["Idempotency-Key"] for call in api.calls}


@pytest.mark.parametrize("status", [429, 503, 423])
def test_a_create_is_repeated_with_the_same_key_when_the_engine_is_busy(
    client: Client, api: responses.RequestsMock, pauses: list[float], status: int
) -> None:
    api.post(RUNTIMES, status=status, json=error(), headers={"Retry-After": "7"})
    api.post(RUNTIMES, status=201, json=response())
    assert client.create_runtime(Function("nature")).id == 851
    assert len(api.calls) == 2
    assert len(keys(api)) == 1
    assert 7 <= pauses[0] <= 7 * 1.2


def test_a_create_is_repeated_with_the_same_key_when_the_connection_breaks(
    client: Client, api: responses.RequestsMock
) -> None:
    api.post(RUNTIMES, body=LOST)
    api.post(RUNTIMES, status=200, json=response())
    assert client.create_runtime(Function("nature")).id == 851
    assert len(keys(api)) == 1


def test_each_create_has_a_key_of_its_own_unless_one_is_given(
    client: Client, api: responses.RequestsMock
) -> None:
    api.post(RUNTIMES, status=201, json=response())
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
    assert len(api.calls) == transport.TRIES
    assert len(pauses) == transport.TRIES - 1
    assert pauses == sorted(pauses)


def test_a_broken_connection_is_reported_with_its_cause(
    client: Client, api: responses.RequestsMock
) -> None:
    api.get(f"{RUNTIMES}/851", body=LOST)
    with pytest.raises(module.Unreachable, match="reset by peer") as raised:
        client.get_runtime(851)
    assert raised.value.status is None
    assert len(api.calls) == transport.TRIES


def test_a_pause_is_never_longer_than_the_client_s_own_limit(
    client: Client, api: responses.RequestsMock, pauses: list[float]
) -> None:
    api.get(f"{RUNTIMES}/851", status=429, json=error(), headers={"Retry-After": "86400"})
    api.get(f"{RUNTIMES}/851", json=response())
    client.get_runtime(851)
    assert pauses[0] <= transport.LONGEST_PAUSE_SECONDS * 1.2


def test_retry_after_may_be_a_date(
    client: Client, api: responses.RequestsMock, pauses: list[float]
) -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
    for text in (later, "soon"):
        api.get(f"{RUNTIMES}/851", status=429, json=error(), headers={"Retry-After": text})
    api.get(f"{RUNTIMES}/851", json=response())
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
