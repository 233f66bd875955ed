"""A sandbox, an engine and a page for each test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from provision_engine.sandbox import Sandbox

from .browser import DESKTOP, Page, chromium, engine


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("chromium")) as driver:
        yield driver


@pytest.fixture(params=["7.4.0"])
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    with Sandbox(release=request.param) as sandbox:
        yield sandbox


@pytest.fixture
def page(driver: Any, sandbox: Sandbox) -> Iterator[Page]:
    """The opened page. It must neither violate its policy nor send requests to another host."""
    with engine(sandbox) as address:
        page = Page(driver, address)
        page.show_on(DESKTOP)
        page.complaints(), page.requests()  # of an earlier test that failed
        page.open()
        yield page
        complaints, hosts = page.complaints(), {urlsplit(url).netloc for _, url in page.requests()}
        page.run("localStorage.clear(); sessionStorage.clear()")
        page.driver.get("about:blank")
    assert complaints == []
    assert hosts <= {address.removeprefix("http://")}
