"""How the Python client repeats requests, and its errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests
import responses

from provision_engine import client as module
from provision_engine.client import Client, Function, transport

from .samples import LOST, RUNTIMES, error, response

# ---- repeating -----------------------------------------------------------------------------


def keys(api: responses.RequestsMock) -> set[str]:
    return {call.request.headers["Idempotency-Key"] for call in api.calls}


@pytest.mark.parametrize(
    "failure",
    [
        {"body": LOST},
        *({"status": n, "json": error(), "headers": {"Retry-After": "7"}} for n in (423, 429, 503)),
    ],
)
def test_a_create_is_repeated_with_the_same_key(
    client: Client, api: responses.RequestsMock, pauses: list[float], failure: dict[str, Any]
) -> None:
    api.post(RUNTIMES, **failure)
    api.post(RUNTIMES, status=201, json=response())
    assert client.create_runtime(Function("nature")).id == 851
    assert (len(api.calls), len(keys(api))) == (2, 1)
    least = 7 if "status" in failure else transport.FIRST_PAUSE_SECONDS
    assert least <= pauses[0] <= least * 1.2


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


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (LOST, module.Unreachable),
        (requests.exceptions.SSLError("reset by peer"), module.Unusable),
    ],
)
def test_a_broken_connection_is_reported_with_its_cause(
    client: Client, api: responses.RequestsMock, failure: Exception, kind: type[Exception]
) -> None:
    """A certificate that is not trusted is not tried again."""
    api.get(f"{RUNTIMES}/851", body=failure)
    with pytest.raises(kind, match="reset by peer") as raised:
        client.get_runtime(851)
    assert raised.value.status is None  # type: ignore[attr-defined]
    assert len(api.calls) == (transport.TRIES if failure is LOST else 1)


@pytest.mark.parametrize(
    ("retry_after", "least", "most"),
    [
        ("86400", transport.LONGEST_PAUSE_SECONDS, transport.LONGEST_PAUSE_SECONDS * 1.2),
        ("Fri, 31 Dec 2100 00:00:00 GMT", 30, 36),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0, 0),
        ("soon", transport.FIRST_PAUSE_SECONDS, transport.FIRST_PAUSE_SECONDS * 1.2),
    ],
    ids=["too long", "a date", "a date in the past", "neither"],
)
def test_a_pause_is_as_long_as_the_engine_asks_up_to_a_limit(
    client: Client,
    api: responses.RequestsMock,
    pauses: list[float],
    retry_after: str,
    least: float,
    most: float,
) -> None:
    api.get(f"{RUNTIMES}/851", status=429, json=error(), headers={"Retry-After": retry_after})
    api.get(f"{RUNTIMES}/851", json=response())
    client.get_runtime(851)
    assert least <= pauses[0] <= most


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


def test_a_404_is_success_only_after_a_lost_delete_response(
    client: Client, api: responses.RequestsMock
) -> None:
    api.delete(f"{RUNTIMES}/851", body=LOST)
    api.delete(f"{RUNTIMES}/851", status=404, json=error())
    client.delete_runtime(851)
    with pytest.raises(module.NotFound):
        client.delete_runtime(851)
    assert len(api.calls) == 3


# ---- errors --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((400, module.BadRequest), (401, module.Unauthorized), (403, module.Forbidden)),
        *((404, module.NotFound), (409, module.Conflict), (412, module.Changed)),
        *((422, module.Unprocessable), (500, module.ClientError), (502, module.ClientError)),
        (504, module.ClientError),
    ],
)
def test_any_other_error_is_raised_at_once_with_all_its_details(
    client: Client, api: responses.RequestsMock, status: int, kind: type[module.ClientError]
) -> None:
    details = {"FAAS": "VM was powered off"}
    headers = {"X-Request-ID": "ab"}
    api.post(RUNTIMES, status=status, json=error("So", details), headers=headers)
    with pytest.raises(module.ClientError) as raised:
        client.create_runtime(Function("nature"))
    found = raised.value
    assert (type(found), found.status, found.error) == (kind, status, "So")
    assert (found.message, found.request_id) == (details, "ab")
    assert str(found) == f"So: {details}"
    assert len(api.calls) == 1


def test_an_update_is_not_repeated_while_the_runtime_is_locked(
    client: Client, api: responses.RequestsMock
) -> None:
    api.put(f"{RUNTIMES}/851", status=423, json=error())
    with pytest.raises(module.Locked):
        client.update_runtime(851, name="x")
    assert len(api.calls) == 1


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        *((404, body, "HTTP 404") for body in ("<html>nothing here</html>", "[]", '{"error": 1}')),
        *((502, body, "HTTP 502") for body in ("<html>Bad gateway</html>", "", "null")),
        (200, "<html>Hello</html>", "does not contain JSON; is this a Provisioning Engine"),
        (200, "[]", "does not contain a JSON object; is this"),
        (200, "{}", "does not contain a serverless runtime; is this"),
        (200, '{"SERVERLESS_RUNTIME": 1}', "does not contain a serverless runtime; is this"),
    ],
)
def test_a_response_of_another_server_is_recognised(
    client: Client, api: responses.RequestsMock, status: int, body: str, message: str
) -> None:
    api.get(f"{RUNTIMES}/851", status=status, body=body)
    with pytest.raises(module.NotAnEngine, match=message):
        client.get_runtime(851)


def test_the_password_is_sent_nowhere_else(client: Client, api: responses.RequestsMock) -> None:
    api.get(f"{RUNTIMES}/851", status=307, headers={"Location": "http://elsewhere.test/"})
    with pytest.raises(module.ClientError):
        client.get_runtime(851)
    assert [call.request.url for call in api.calls] == [f"{RUNTIMES}/851"]
