"""The application around the routes: the form of errors, request ids, crashes."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from flask.testing import FlaskClient

from provision_engine import config, errors
from provision_engine.app import ANSWER_BYTES, create_app, error_body
from provision_engine.engine.actions import read
from provision_engine.errors import EngineError
from tests.unit.support import configuration

PATH = "/serverless-runtimes/7"
USER = ("devuser", "devpass")


def classes(of: type[EngineError] = EngineError) -> list[type[EngineError]]:
    return [of, *(c for child in of.__subclasses__() for c in classes(child))]


@pytest.fixture
def client() -> FlaskClient:
    return create_app(configuration()).test_client()


@pytest.fixture
def raising(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes every read of a runtime raise something."""

    def make(error: BaseException) -> None:
        def fail(*_: Any, **__: Any) -> None:
            raise error

        monkeypatch.setattr(read, "get_runtime", fail)

    return make


def fits(answer: Any) -> dict[str, Any]:
    """The error in a response; AssertionError if it does not have the form of errors."""
    assert answer.content_type == "application/json"
    assert len(answer.data) <= ANSWER_BYTES
    body: dict[str, Any] = json.loads(answer.data)
    schema = config.load_schema("error.json")
    for draft in (jsonschema.Draft4Validator, jsonschema.Draft6Validator):
        draft(schema).validate(body)
    assert set(body) == {"error", "message"}
    return body


@pytest.mark.parametrize("kind", classes())
@pytest.mark.parametrize("message", ["", "why", {"FAAS": {"X": [1]}}, [{"log": "entry"}]])
def test_each_error_has_its_status_and_the_error_form(
    client: FlaskClient, raising: Any, kind: type[EngineError], message: Any
) -> None:
    raising(kind(message))
    answer = client.get(PATH, auth=USER)
    assert answer.status_code == kind.status
    assert fits(answer) == {"error": kind.error, "message": message}
    assert ("WWW-Authenticate" in answer.headers) is (kind.status == 401)
    seconds = kind.retry_after_seconds
    assert answer.headers.get("Retry-After") == (None if seconds is None else str(seconds))
    assert seconds or kind.status not in (423, 429)


STATUS = {400, 401, 403, 404, 405, 409, 412, 413, 422, 423, 429, 500, 502, 503, 504}


def test_the_statuses_are_those_of_the_contract() -> None:
    assert {kind.status for kind in classes()} == STATUS


@pytest.mark.parametrize(
    "crash",
    [
        RuntimeError("secret detail"),
        KeyError("x"),
        RecursionError(),
        MemoryError(),
        AssertionError(),
    ],
)
def test_a_crash_has_the_error_form_and_reveals_nothing(
    client: FlaskClient, raising: Any, crash: Exception
) -> None:
    raising(crash)
    answer = client.get(PATH, auth=USER)
    assert answer.status_code == 500
    body = fits(answer)
    assert "secret detail" not in answer.text
    assert "Traceback" not in answer.text
    assert body["message"]
    assert answer.headers["X-Request-ID"]


@pytest.mark.parametrize(
    "message",
    [
        "x" * 10**6,
        '"' * 10**5,
        "\x01" * 10**5,
        "漢" * 10**5,
        "\ud800" * 10**5,
        {"FAAS": {"X": "y" * 10**6}},
        [{"message": "z" * 100}] * 10**4,
        {"\U0001f642" * 10**4: 1},
    ],
    ids=lambda m: f"{type(m).__name__} of {str(m)[:12]!r}",
)
def test_no_error_is_longer_than_a_small_device_can_read(message: Any) -> None:
    body = error_body(EngineError(message))
    assert len(body) <= 30_000
    assert isinstance(json.loads(body)["message"], str)


def test_a_lone_surrogate_in_an_error_is_still_json() -> None:
    body = error_body(errors.NoFlowTemplate({"FAAS": {"X": "half \ud83d"}}))
    assert json.loads(body)["message"]["FAAS"]["X"] == "half \ud83d"
