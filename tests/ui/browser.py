"""The engine in front of a sandbox, and a headless Chromium in front of the engine."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from provision_engine.sandbox import Sandbox
from tests.support.engine import engine_in_process, settings_for

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
WAIT_SECONDS = 20.0
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
)


def engine(sandbox: Sandbox, text: str = "") -> AbstractContextManager[str]:
    """The engine in this process, with further lines of engine.conf; its address."""
    further = yaml.safe_load(text) or {}
    return engine_in_process(settings_for(sandbox, timeout=10, cache={"seconds": 0}) | further)


@contextmanager
def chromium(directory: Path, *, dark: bool = False, size: str = "1280,800") -> Iterator[Any]:
    """A browser that knows nothing, and calls nobody by itself."""
    options = Options()
    options.binary_location = CHROMIUM or ""
    for flag in (*FLAGS, f"--window-size={size}", f"--user-data-dir={directory}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
        yield driver
    finally:
        driver.quit()


class Page:
    """The page /ui as a person uses it."""

    def __init__(self, driver: Any, address: str) -> None:
        self.driver, self.address = driver, address

    def open(self) -> None:
        self.driver.get(f"{self.address}/ui")

    def login(self, user: str = "devuser", password: str = "devpass") -> None:
        self.write("#login-user", user)
        self.write("#login-password", password)
        self.click("#login-form button")

    def create(self, flavour: str = "nature", **fields: str) -> None:
        """Fill in the form; fields by the end of their id, or by name such as ``FAAS.CPU``."""
        self.click("#new")
        self.until(lambda: self.find("#create").get_attribute("open"))
        self.choose("#create-flavour", flavour)
        for name, value in fields.items():
            place = f'[name="{name}"]' if "." in name else f"#create-{name}"
            if not self.find(place).is_displayed():
                self.click("#create details summary")
            (self.choose if name == "lease" else self.write)(place, value)
        self.click("#create [type=submit]")

    def find(self, place: str) -> WebElement:
        found: WebElement = self.driver.find_element(By.CSS_SELECTOR, place)
        return found

    def all(self, place: str) -> list[WebElement]:
        found: list[WebElement] = self.driver.find_elements(By.CSS_SELECTOR, place)
        return found

    def text(self, place: str) -> str:
        return " ".join(element.text for element in self.all(place))

    def click(self, place: str) -> None:
        element = self.until(lambda: next((e for e in self.all(place) if e.is_displayed()), None))
        element.click()

    def press(self, text: str, within: str = "#runtimes") -> None:
        """Click the button with this text."""

        def button() -> WebElement | None:
            buttons = self.all(f"{within} button")
            return next((b for b in buttons if b.text == text and b.is_enabled()), None)

        self.until(button).click()

    def write(self, place: str, text: str) -> None:
        field = self.until(lambda: next((e for e in self.all(place) if e.is_displayed()), None))
        field.clear()
        field.send_keys(text)

    def choose(self, place: str, value: str) -> None:
        script = (
            "arguments[0].value = arguments[1];"
            "arguments[0].dispatchEvent(new Event('change', {bubbles: true}))"
        )
        self.driver.execute_script(script, self.find(place), value)
        assert self.find(place).get_attribute("value") == value

    def until(self, condition: Callable[[], Any], seconds: float = WAIT_SECONDS) -> Any:
        """The first true value of a condition; fails when there is none in time."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if value := condition():
                    return value
            except StaleElementReferenceException:
                pass
            time.sleep(0.05)
        shown = self.text("body")
        raise AssertionError(f"nothing came of it within {seconds} seconds; the page:\n{shown}")

    def until_text(self, place: str, *texts: str) -> str:
        found: str = self.until(
            lambda: (seen := self.text(place)) and all(t in seen for t in texts) and seen
        )
        return found

    def complaints(self) -> list[str]:
        """What the browser's console holds since the last call, but for answers like 401."""
        entries = self.driver.get_log("browser")
        return [e["message"] for e in entries if "Failed to load resource" not in e["message"]]

    def hosts(self) -> set[str]:
        """Whom the page has sent requests to since the last call."""
        events = [json.loads(e["message"])["message"] for e in self.driver.get_log("performance")]
        sent = [e["params"] for e in events if e["method"] == "Network.requestWillBeSent"]
        urls = [urlsplit(event["request"]["url"]) for event in sent]
        return {url.netloc for url in urls if url.scheme not in ("data", "blob", "chrome")}
