"""The engine in front of a sandbox, and a headless Chromium in front of the engine."""

from __future__ import annotations

import importlib.util
import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from selenium import webdriver
from selenium.common.exceptions import (
    ElementClickInterceptedException,
    ElementNotInteractableException,
    StaleElementReferenceException,
)
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from provision_engine.sandbox import Sandbox
from tests.support.engine import engine_in_process, settings_for
from tests.support.programs import program

WAIT_SECONDS = 180.0
"""On a busy machine the page pauses for up to 30 seconds between two reads."""
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--force-color-profile=srgb",
    "--lang=en-US",
)
DESKTOP, TABLET, PHONE = (1280, 800), (1024, 768), (390, 844)
RUNTIMES = "/serverless-runtimes"
PASSING = (
    ElementClickInterceptedException,
    ElementNotInteractableException,
    StaleElementReferenceException,
)
"""Errors of a click while the page is being rendered again."""


def engine(sandbox: Sandbox, **settings: Any) -> AbstractContextManager[str]:
    """The URL of an engine in this process, with additional settings of engine.conf."""
    return engine_in_process(settings_for(sandbox, timeout=10, cache={"seconds": 0}, **settings))


@contextmanager
def chromium(directory: Path) -> Iterator[Any]:
    """A browser with an empty profile, which sends no requests of its own."""
    options = Options()
    options.binary_location = program("chromium")
    for flag in (*FLAGS, f"--user-data-dir={directory}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(program("chromedriver")))
    driver.set_script_timeout(WAIT_SECONDS)
    try:
        yield driver
    finally:
        driver.quit()


def axe_script() -> str:
    """The source of axe-core from the package axe-playwright-python."""
    package = importlib.util.find_spec("axe_playwright_python")
    assert package is not None
    assert package.submodule_search_locations
    directory = Path(package.submodule_search_locations[0])
    return (directory / "axe.min.js").read_text(encoding="utf-8")


class Page:
    """The page /ui as a person uses it."""

    def __init__(self, driver: Any, address: str) -> None:
        self.driver, self.address = driver, address

    # ---- the device in front of the person --------------------------------------------

    def show_on(self, size: tuple[int, int], *, is_dark: bool = False) -> None:
        width, height = size
        is_phone = size == PHONE
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": is_phone},
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})

    # ---- what a person does -----------------------------------------------------------

    def open(self, view: str = "") -> None:
        self.driver.get(f"{self.address}/ui{view}")
        self.until(lambda: self.all("#login, .top nav"))

    def go(self, view: str) -> None:
        """Goes to another address within the page, without reloading it."""
        self.driver.execute_script("location.hash = arguments[0]", view)

    def log_in(
        self, user: str = "devuser", password: str = "devpass", *, stays: bool = True
    ) -> None:
        self.write("[name=username]", user)
        self.write("[name=password]", password)
        if not stays:
            self.click("[name=remember]")
        self.click("#login button")

    def enter(self, *, stays: bool = True) -> None:
        """Log in, and wait for the list."""
        self.log_in(stays=stays)
        self.until(lambda: self.all("#runtimes, .empty"))

    def create(self, flavour: str = "nature", **fields: str) -> None:
        """Fill in the dialog, by the names of its fields, and create."""
        self.fill_in(flavour, **fields)
        self.submit()
        self.until(lambda: not self.all("dialog[open]"))

    def fill_in(self, flavour: str = "nature", **fields: str) -> None:
        self.click("#new")
        self.until(lambda: self.all("dialog[open] [name=flavour]"))
        self.choose("[name=flavour]", flavour)
        for name, value in fields.items():
            field = f'dialog [name="{name}"]'
            if not self.find(field).is_displayed():
                self.click("dialog details summary")
            (self.choose if name == "lease" else self.write)(field, value)

    def submit(self) -> None:
        self.click("dialog[open] [type=submit]")

    def open_new(self, flavour: str = "nature", **fields: str) -> None:
        """Create a runtime and open its page, when it runs or has to wait."""
        self.create(flavour, **fields)
        self.click(f'#runtimes a[title="{fields["name"]}"]')
        self.until_text("h1", fields["name"])

    def confirm(self) -> None:
        self.submit()
        self.until(lambda: not self.all("dialog[open]"))

    def act(self, name: str, action: str) -> None:
        """Choose from the menu of a row."""
        self.click(f'[aria-label="Actions for {name}"]')
        self.press(action, '[role="menuitem"]')

    def click(self, selector: str) -> None:
        self._use(selector, lambda element: element.is_enabled(), lambda it: it.click())

    def press(self, text: str, selector: str = "button") -> None:
        """Click the button with this text."""

        def is_meant(element: WebElement) -> bool:
            return bool(element.text.strip() == text and element.is_enabled())

        self._use(selector, is_meant, lambda it: it.click())

    def write(self, selector: str, text: str) -> None:
        def written(element: WebElement) -> None:
            element.clear()
            element.send_keys(text)

        self._use(selector, lambda element: True, written)

    def _use(
        self,
        selector: str,
        is_meant: Callable[[WebElement], bool],
        use: Callable[[WebElement], None],
    ) -> None:
        """Use the first visible element that is meant, as soon as there is one."""

        def used() -> bool:
            for element in self.all(selector):
                if element.is_displayed() and is_meant(element):
                    use(element)
                    return True
            return False

        self.until(used)

    def choose(self, selector: str, value: str) -> None:
        script = (
            "arguments[0].value = arguments[1];"
            "arguments[0].dispatchEvent(new Event('change', {bubbles: true}))"
        )
        self.driver.execute_script(script, self.find(selector), value)
        self.until(lambda: self.find(selector).get_attribute("value") == value)

    def type_keys(self, *keys: str) -> None:
        for key in keys:
            self.driver.switch_to.active_element.send_keys(key)

    # ---- what a person sees -----------------------------------------------------------

    def find(self, selector: str) -> WebElement:
        found: WebElement = self.driver.find_element(By.CSS_SELECTOR, selector)
        return found

    def all(self, selector: str) -> list[WebElement]:
        found: list[WebElement] = self.driver.find_elements(By.CSS_SELECTOR, selector)
        return found

    def text(self, selector: str) -> str:
        return " ".join(element.text for element in self.all(selector))

    @property
    def focused(self) -> WebElement:
        found: WebElement = self.driver.switch_to.active_element
        return found

    def until(self, condition: Callable[[], Any]) -> Any:
        """The first true value of a condition; fails if there is none in time."""
        end = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < end:
            try:
                if value := condition():
                    return value
            except PASSING:
                pass
            time.sleep(0.05)
        shown = self.text("body")
        raise AssertionError(f"not within {WAIT_SECONDS} seconds; the page:\n{shown}")

    def until_text(self, selector: str, *texts: str) -> str:
        found: str = self.until(
            lambda: (seen := self.text(selector)) and all(t in seen for t in texts) and seen
        )
        return found

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def module(self, name: str, expression: str) -> Any:
        """An expression over the exports `m` of one of the page's modules."""
        script = (
            "const done = arguments[arguments.length - 1];"
            f"import('/ui/js/{name}.js').then((m) => done({expression}), (e) => done(String(e)))"
        )
        return self.driver.execute_async_script(script)

    def violations(self, context: str = "document") -> list[str]:
        """The violations that axe-core finds in the page: rule and elements."""
        # Through the debugger, since the page's own policy allows no foreign script.
        if not self.run("return 'axe' in window"):
            self.driver.execute_cdp_cmd("Runtime.evaluate", {"expression": axe_script()})
        script = f"""
            const done = arguments[arguments.length - 1];
            axe.run({context}, {{resultTypes: ["violations"]}}).then(({{violations}}) =>
              done(violations.map((it) => it.id + ": " + it.nodes.map((n) => n.target).join(" "))));
        """
        found: list[str] = self.driver.execute_async_script(script)
        return found

    # ---- what the browser noted -------------------------------------------------------

    def complaints(self) -> list[str]:
        """The browser's console messages since the last call, without failed responses like 401."""
        entries = self.driver.get_log("browser")
        return [e["message"] for e in entries if "Failed to load resource" not in e["message"]]

    def requests(self) -> list[tuple[str, str]]:
        """Method and URL of the requests that the page has sent since the last call."""
        events = [json.loads(e["message"])["message"] for e in self.driver.get_log("performance")]
        sent = [
            e["params"]["request"] for e in events if e["method"] == "Network.requestWillBeSent"
        ]
        urls = [(request["method"], request["url"]) for request in sent]
        return [(m, url) for m, url in urls if urlsplit(url).scheme in ("http", "https")]
