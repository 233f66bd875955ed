"""Takes the pictures of /ui that the documents show: screenshots.py DIRECTORY."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from provision_engine.sandbox import Sandbox, Timings
from tests.ui.browser import Page, chromium, engine

SLOWLY = Timings(schedule_seconds=1.5, prolog_seconds=0.8, boot_seconds=1.2)


def take(page: Page, file: Path) -> None:
    page.driver.save_screenshot(str(file))


def fill(page: Page, sandbox: Sandbox) -> None:
    """Runtimes in all states."""
    page.create("nature-s3", name="greenhouse", lease="3600", location="40.4168, -3.7038")
    page.until(lambda: len(page.all("#runtimes .badge.RUNNING")) == 2)
    page.create("nature", name="harbour-camera", location="53.5461, 9.9661")
    page.until(lambda: len(page.all("#runtimes .badge.RUNNING")) == 3)
    page.create("nature", name="ferry", lease="600", location="-33.8568, 151.2153")
    page.until(lambda: len(page.all("#runtimes .badge.RUNNING")) == 4)
    sandbox.store.put_vm(sandbox.store.live_vms()[-1].id, "POWEROFF")
    page.until_text("#runtimes", "ERROR")
    for button in page.all('#runtimes [aria-expanded="true"]')[1:]:
        button.click()


def light(page: Page, sandbox: Sandbox, directory: Path) -> None:
    page.open()
    page.login(password="wrong")
    page.until_text("#login-error", "does not know")
    take(page, directory / "ui-login.png")
    page.login()
    page.until(lambda: page.find("#work").is_displayed())
    fill(page, sandbox)
    page.create("nature", name="new-arrival", requirements="FREE_CPU > 10")
    page.until_text("#runtimes", "PENDING")
    take(page, directory / "ui-runtimes.png")
    page.until(lambda: len(page.all("#runtimes .badge.RUNNING")) == 4)
    page.click("#new")
    page.until(lambda: page.find("#create").get_attribute("open"))
    page.choose("#create-flavour", "nature-s3")
    page.driver.execute_script("document.querySelector('#create details').open = false")
    take(page, directory / "ui-create.png")
    page.click("#create [data-close]")
    page.press("Delete")
    take(page, directory / "ui-delete.png")
    page.click("#delete [data-close]")
    sandbox.faults.set("oned", "refuse")
    page.until_text("#trouble", "cannot be reached")
    take(page, directory / "ui-backend-down.png")
    page.driver.get(f"{page.address}/docs")
    page.until_text("#api", "Create a serverless runtime")
    take(page, directory / "docs.png")


def dark(page: Page, sandbox: Sandbox, directory: Path) -> None:
    page.open()
    page.login()
    page.until(lambda: page.find("#work").is_displayed())
    fill(page, sandbox)
    take(page, directory / "ui-dark.png")


def main(directory: Path) -> None:
    for name, pictures in (("light", light), ("dark", dark)):
        with (
            tempfile.TemporaryDirectory() as profile,
            Sandbox(timings=SLOWLY) as sandbox,
            engine(sandbox) as address,
            chromium(Path(profile), dark=name == "dark", size="1280,900") as driver,
        ):
            pictures(Page(driver, address), sandbox, directory)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
