"""A sandbox, an engine and a page for each test; skipped where there is no browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from provision_engine.sandbox import Sandbox

if TYPE_CHECKING:
    from .browser import Page


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    for program in ("chromium", "chromedriver"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    pytest.importorskip("selenium", reason="selenium is not installed")
    from .browser import chromium

    directory: Path = tmp_path_factory.mktemp("chromium")
    with chromium(directory) as driver:
        yield driver


@pytest.fixture(params=["7.4.0"])
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    with Sandbox(release=request.param) as sandbox:
        yield sandbox


@pytest.fixture
def page(driver: Any, sandbox: Sandbox) -> Iterator[Page]:
    """The page, open. What it does may neither offend its policy nor leave this host."""
    from .browser import Page, engine

    with engine(sandbox) as address:
        page = Page(driver, address)
        page.open()
        yield page
        complaints, hosts = page.complaints(), page.hosts()
        page.driver.get("about:blank")
    assert complaints == []
    assert hosts == {address.removeprefix("http://")}
