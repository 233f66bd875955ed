"""The errors of OpenNebula as the engine's: each recorded refusal has its status."""

from __future__ import annotations

import pyone
import pytest
import requests

from provision_engine import errors
from provision_engine.cloud.errors import from_oneflow, from_transport, reason
from provision_engine.errors import EngineError
from tests.unit.support import recorded

WANTED_ONEFLOW = {  # recorded text (begins with) → ours
    "Invalid credentials": errors.Unauthorized,
    "A username and password": errors.Unauthorized,
    "[one.document.info] User [3] : Not authorized": errors.Forbidden,
    "[one.document.info] Error getting document": errors.NotFound,
    "Service cannot be": errors.ActionRefused,
    "Error undeploying role": errors.ActionRefused,
    "Action nonsense": errors.BadGateway,
    "KEY: 'roles'": errors.BadGateway,
    '{"message": "Internal server error"': errors.BadGateway,
}


@pytest.mark.parametrize(
    "seen",
    [r for r in recorded("oneflow_refusals") if not r["text"].startswith("<")],
    ids=lambda r: f"{r['release']}-{r['text'][:40]}",
)
def test_each_recorded_refusal_of_oneflow_has_its_error(seen: dict) -> None:
    wanted = next(w for text, w in WANTED_ONEFLOW.items() if seen["text"].startswith(text))
    assert type(from_oneflow(seen["status"], seen["text"])) is wanted


@pytest.mark.parametrize(
    ("status", "wanted"),
    [
        (500, 502),
        (502, 502),
        (503, 503),
        (404, 404),
        (401, 401),
        (403, 403),
        (302, 502),
        (418, 502),
    ],
)
def test_a_status_of_oneflow_without_a_text_has_its_error(status: int, wanted: int) -> None:
    ours = from_oneflow(status, "")
    assert ours.status == wanted
    assert str(status) in ours.message


@pytest.mark.parametrize(
    ("theirs", "wanted"),
    [
        (requests.exceptions.ReadTimeout("slow"), errors.BackendTimeout),
        (requests.exceptions.ConnectTimeout("far"), errors.BackendUnreachable),
        (requests.exceptions.ConnectionError("refused"), errors.BackendUnreachable),
        (requests.exceptions.SSLError("certificate"), errors.BackendUnreachable),
        (requests.exceptions.ChunkedEncodingError("cut"), errors.BadGateway),
        (requests.exceptions.ContentDecodingError("gzip"), errors.BadGateway),
        (requests.exceptions.InvalidURL("url"), errors.BadGateway),
    ],
)
def test_a_failure_on_the_way_has_its_error(theirs: Exception, wanted: type[EngineError]) -> None:
    ours = from_transport(theirs, "oned")
    assert type(ours) is wanted
    assert ours.message.startswith("oned: ")


def test_the_reason_holds_no_address_of_an_object() -> None:
    inner = ConnectionRefusedError(111, "Connection refused")
    outer = requests.exceptions.ConnectionError(
        Exception("<urllib3.connection.HTTPConnection object at 0x7f00>: failed", inner)
    )
    assert "0x" not in reason(outer)


def test_every_class_of_pyones_exceptions_has_an_error() -> None:
    from provision_engine.cloud.errors import from_oned

    for name in dir(pyone):
        kind = getattr(pyone, name)
        if isinstance(kind, type) and issubclass(kind, pyone.OneException):
            assert isinstance(from_oned(kind("text")), EngineError)
