"""A client, and an engine whose responses are hand-made."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import responses

from provision_engine.client import Client

from .samples import URL


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
