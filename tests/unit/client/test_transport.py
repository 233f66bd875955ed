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
        *({"status": n, "body": "<html>", "headers": {"Retry-After": "7"}} for n in (502, 504)),
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


@pytest.mark.parametrize(("status", "kind"), [(503, module.Busy), (504, module.ClientError)])
def test_the_number_of_attempts_is_limited(
    client: Client,
    api: responses.RequestsMock,
    pauses: list[float],
    status: int,
    kind: type[module.ClientError],
) -> None:
    api.get(f"{RUNTIMES}/851", status=status, json=error("Away", "oned: refused"))
    with pytest.raises(module.ClientError) as raised:
        client.get_runtime(851)
    found = raised.value
    assert (type(found), found.status, found.error) == (kind, status, "Away")
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


@pytest.mark.parametrize("failure", [{"body": LOST}, {"status": 502}, {"status": 504}])
@pytest.mark.parametrize(
    ("method", "call"),
    [
        ("PUT", lambda c: c.update_runtime(851, name="x", if_match='"tag"')),
        ("DELETE", lambda c: c.delete_runtime(851, if_match='"tag"')),
    ],
)
def test_a_conditional_change_is_repeated_after_a_lost_response(
    client: Client,
    api: responses.RequestsMock,
    method: str,
    call: Callable[[Client], Any],
    failure: dict[str, Any],
) -> None:
    """It happens once: where the first was carried out, the etag no longer matches."""
    api.add(method, f"{RUNTIMES}/851", **failure)
    api.add(method, f"{RUNTIMES}/851", status=412, json=error())
    with pytest.raises(module.Changed):
        call(client)
    assert [sent.request.headers["If-Match"] for sent in api.calls] == ['"tag"'] * 2


def test_a_404_is_success_only_after_a_lost_delete_response(
    client: Client, api: responses.RequestsMock
) -> None:
    for failure in ({"body": LOST}, {"status": 502}):
        api.delete(f"{RUNTIMES}/851", **failure)
        api.delete(f"{RUNTIMES}/851", status=404, json=error())
        client.delete_runtime(851)
        with pytest.raises(module.NotFound):
            client.delete_runtime(851)
        assert len(api.calls) == 3
        api.reset()


# ---- errors --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((400, module.BadRequest), (401, module.Unauthorized), (403, module.Forbidden)),
        *((404, module.NotFound), (409, module.Conflict), (412, module.Changed)),
        *((422, module.Unprocessable), (500, module.ClientError)),
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


@pytest.mark.parametrize("body", ["<html>Bad gateway</html>", "", "null"])
def test_a_proxy_without_an_engine_is_no_response(
    client: Client, api: responses.RequestsMock, body: str
) -> None:
    api.get(f"{RUNTIMES}/851", status=502, body=body)
    with pytest.raises(module.Unreachable, match="HTTP 502"):
        client.get_runtime(851)
    assert len(api.calls) == transport.TRIES


@pytest.mark.parametrize("verify", ["own.pem", False])
def test_the_environment_does_not_replace_the_given_authorities(
    api: responses.RequestsMock, monkeypatch: pytest.MonkeyPatch, verify: bool | str
) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(name, "/elsewhere.pem")
    api.get(f"{RUNTIMES}/851", json=response())
    Client(RUNTIMES.rpartition("/")[0], verify=verify).get_runtime(851)
    assert api.calls[0].request.req_kwargs["verify"] == verify


def test_the_password_is_sent_nowhere_else(client: Client, api: responses.RequestsMock) -> None:
    api.get(f"{RUNTIMES}/851", status=307, headers={"Location": "http://elsewhere.test/"})
    with pytest.raises(module.ClientError):
        client.get_runtime(851)
    assert [call.request.url for call in api.calls] == [f"{RUNTIMES}/851"]
