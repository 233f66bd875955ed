"""The errors of OpenNebula as the engine's: each recorded refusal has its status."""

from __future__ import annotations

import http.client
import socket
import ssl

import pyone
import pytest

from provision_engine import errors
from provision_engine.cloud.errors import NotConnected, from_oneflow, from_transport
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
        (TimeoutError("timed out"), errors.BackendTimeout),
        (NotConnected("far"), errors.BackendDown),
        (ConnectionResetError(104, "Connection reset by peer"), errors.BackendUnreachable),
        (http.client.RemoteDisconnected("closed"), errors.BackendUnreachable),
        (ssl.SSLError("broken"), errors.BackendUnreachable),
        (socket.gaierror(-2, "Name or service not known"), errors.BackendUnreachable),
        (http.client.IncompleteRead(b"half", 4), errors.BadGateway),
        (http.client.BadStatusLine("nonsense"), errors.BadGateway),
    ],
)
def test_a_failure_on_the_way_has_its_error(theirs: Exception, wanted: type[EngineError]) -> None:
    ours = from_transport(theirs, "oned")
    assert type(ours) is wanted
    assert ours.message.startswith("oned: ")


def test_an_error_without_a_text_has_the_name_of_its_class() -> None:
    assert from_transport(TimeoutError(), "oned").message == "oned: TimeoutError"


def test_every_class_of_pyones_exceptions_has_an_error() -> None:
    from provision_engine.cloud.errors import from_oned

    for name in dir(pyone):
        kind = getattr(pyone, name)
        if isinstance(kind, type) and issubclass(kind, pyone.OneException):
            assert isinstance(from_oned(kind("text")), EngineError)
