"""A sandbox, an engine and a page for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

from provision_engine.sandbox import Sandbox

from .browser import DESKTOP, Page, chromium, engine


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("chromium")) as driver:
        yield driver


OpenPage = Callable[..., AbstractContextManager[Page]]
"""Opens the page of an engine with additional settings of engine.conf."""


@pytest.fixture
def open_page(driver: Any, sandbox: Sandbox) -> OpenPage:
    return lambda **settings: opened_page(driver, sandbox, **settings)


@pytest.fixture
def page(open_page: OpenPage) -> Iterator[Page]:
    with open_page() as page:
        yield page


@pytest.fixture
def home(page: Page) -> Page:
    """The page after a login, with the list."""
    page.enter()
    return page


@contextmanager
def opened_page(driver: Any, sandbox: Sandbox, **settings: Any) -> Iterator[Page]:
    """The opened page. It must neither violate its policy nor send requests to another host."""
    with engine(sandbox, **settings) as address:
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
