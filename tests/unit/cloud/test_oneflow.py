"""The client of oneflow: the requests it sends, and the result of each response."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable

import pytest

from provision_engine import errors
from provision_engine.cloud.oneflow import Oneflow
from provision_engine.cloud.transport import Backend
from provision_engine.deadline import Deadline
from tests.unit.support import recorded

from .conftest import CLOSE, CUT, HANG, Wire


@pytest.fixture
def oneflow(wire: Wire) -> Oneflow:
    return Oneflow(Backend("oneflow", wire.url, 4), "jürgen:pass:word", Deadline(10))


def test_a_service_is_started_with_the_callers_own_credentials(
    wire: Wire, oneflow: Oneflow
) -> None:
    wire.answer_json({"DOCUMENT": {"ID": "80"}}, 201)
    assert oneflow.instantiate_service(0, {"name": "n", "roles": []}) == 80
    request = wire.calls[0]
    assert (request.method, request.path) == ("POST", "/service_template/0/action")
    assert json.loads(request.body) == {
        "action": {
            "perform": "instantiate",
            "params": {"merge_template": {"name": "n", "roles": []}},
        }
    }
    token = request.headers["Authorization"].removeprefix("Basic ")
    assert base64.b64decode(token).decode() == "jürgen:pass:word"


@pytest.mark.parametrize(
    ("call", "method", "path", "body"),
    [
        (lambda o: o.delete_service(8), "DELETE", "/service/8", None),
        (
            lambda o: o.recover_service(8),
            "POST",
            "/service/8/action",
            {"action": {"perform": "recover", "params": {}}},
        ),
        (
            lambda o: o.purge_service(8),
            "POST",
            "/service/8/action",
            {"action": {"perform": "recover", "params": {"delete": True}}},
        ),
    ],
)
def test_a_call_goes_out_as_recorded(
    wire: Wire, oneflow: Oneflow, call: Callable, method: str, path: str, body: dict | None
) -> None:
    wire.answer(status=204)
    call(oneflow)
    sent = wire.calls[0]
    assert (sent.method, sent.path) == (method, path)
    assert (json.loads(sent.body) if sent.body else None) == body


@pytest.mark.parametrize(
    "seen",
    recorded("oneflow_refusals"),
    ids=lambda r: f"{r['release']}-{r['status']}-{r['text'][:40]}",
)
def test_each_recorded_refusal_is_an_error_without_html(
    wire: Wire, oneflow: Oneflow, seen: dict
) -> None:
    content_type = seen["content_type"] or "text/plain"
    wire.answer(seen["text"], seen["status"], content_type=content_type)
    with pytest.raises(errors.EngineError) as caught:
        oneflow.delete_service(8)
    assert "<" not in str(caught.value.message).replace("<main>", "")
    assert caught.value.status == expected_status(seen)


def expected_status(seen: dict) -> int:
    """401 and 404 as oneflow sent them, but 403 for a missing right; 500 means several things."""
    if "Not authorized" in seen["text"]:
        return 403
    if re.match(r"Service cannot be \w+ in state|Error undeploying", seen["text"]):
        return 422
    return 502 if seen["status"] == 500 else seen["status"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Invalid credentials", errors.Unauthorized),
        (
            "[one.document.info] User [3] : Not authorized to perform USE DOCUMENT [80].",
            errors.Forbidden,
        ),
    ],
)
def test_the_two_kinds_of_401_are_distinguished(
    wire: Wire, oneflow: Oneflow, text: str, wanted: type[errors.EngineError]
) -> None:
    wire.answer(text, 401)
    with pytest.raises(errors.EngineError) as caught:
        oneflow.delete_service(8)
    assert type(caught.value) is wanted


def test_an_html_page_is_not_passed_on(wire: Wire, oneflow: Oneflow) -> None:
    page = "<!DOCTYPE html>\n<html><title>NoMethodError at /service</title>secret</html>"
    wire.answer(page, 500, content_type="text/html")
    with pytest.raises(errors.BadGateway) as caught:
        oneflow.instantiate_service(0, {})
    assert "secret" not in str(caught.value)
    assert "500" in str(caught.value)


def test_the_reason_of_release_7_is_reported(wire: Wire, oneflow: Oneflow) -> None:
    body = {"message": "Internal server error", "reason": "859: unexpected token"}
    wire.answer_json(body, 500)
    with pytest.raises(errors.BadGateway) as caught:
        oneflow.instantiate_service(0, {})
    assert caught.value.message == "Internal server error: 859: unexpected token"


def test_a_very_long_text_is_truncated(wire: Wire, oneflow: Oneflow) -> None:
    wire.answer("x" * 10**6, 500)
    with pytest.raises(errors.BadGateway) as caught:
        oneflow.delete_service(8)
    assert len(caught.value.message) <= 1000


@pytest.mark.parametrize(
    "body",
    ["", "null", "{}", "[]", "<html></html>", '{"DOCUMENT": null}', '{"DOCUMENT": {"ID": "x"}}'],
)
def test_a_response_without_a_service_is_an_invalid_response(
    wire: Wire, oneflow: Oneflow, body: str
) -> None:
    """Among them the empty 200 that oneflow returns for an unknown action."""
    wire.answer(body)
    with pytest.raises(errors.BadGateway):
        oneflow.instantiate_service(0, {})


@pytest.mark.parametrize("status", [202, 301, 302, 304, 418, 502])
def test_another_status_is_an_invalid_response(wire: Wire, oneflow: Oneflow, status: int) -> None:
    wire.answer(status=status, location="http://elsewhere.test/")
    with pytest.raises(errors.BadGateway):
        oneflow.delete_service(8)
    assert len(wire.calls) == 1


@pytest.mark.parametrize(
    ("failure", "wanted"),
    [
        (CLOSE, errors.BackendUnreachable),
        (HANG, errors.BackendTimeout),
        (CUT, errors.BadGateway),
    ],
)
def test_each_transport_failure_has_its_error_and_nothing_is_started_twice(
    wire: Wire, failure: str, wanted: type[errors.EngineError]
) -> None:
    oneflow = Oneflow(Backend("oneflow", wire.url, 4), "user:password", Deadline(1))
    wire.fail(failure)
    with pytest.raises(wanted):
        oneflow.instantiate_service(0, {})
    assert len(wire.calls) == 1
