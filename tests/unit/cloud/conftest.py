"""oned and oneflow as HTTP servers whose responses a test sets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import responses

ONED = "http://oned.test:2633/RPC2"
ONEFLOW = "http://oneflow.test:2474"


@pytest.fixture
def wire() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock
