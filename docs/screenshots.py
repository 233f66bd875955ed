"""Takes the screenshots of /ui for the documentation: screenshots.py DIRECTORY."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from provision_engine.sandbox import Sandbox, Timings
from tests.support.client import Device
from tests.ui.browser import DESKTOP, PHONE, Page, chromium, engine

SLOWLY = Timings(schedule_seconds=1.5, prolog_seconds=0.8, boot_seconds=1.2)
DEVICES = [
    ("loading-dock", "nature", {"GEOGRAPHIC_LOCATION": "51.9225, 4.4792"}, 86400),
    ("weather-mast", "nature", {"GEOGRAPHIC_LOCATION": "64.1466, -21.9426"}, 0),
    ("", "nature", {"GEOGRAPHIC_LOCATION": "35.6764, 139.6500"}, 0),
    ("turnstile-12", "Function", {}, 3600),
    ("turnstile-13", "Function", {}, 3600),
    ("drone-7", "nature", {"GEOGRAPHIC_LOCATION": "-23.5558, -46.6396"}, 0),
    ("harbour-camera", "nature-s3", {"GEOGRAPHIC_LOCATION": "53.5461, 9.9661"}, 86400),
    ("ferry", "nature", {"GEOGRAPHIC_LOCATION": "-33.8568, 151.2153"}, 0),
]


def order(address: str, name: str, flavour: str, device: dict[str, object], lease: int) -> None:
    faas, _, daas = flavour.partition("-")
    body = {
        "NAME": name,
        "FAAS": {"FLAVOUR": faas},
        "DAAS": {"FLAVOUR": daas},
        "DEVICE_INFO": {"LATENCY_TO_PE": 0.036, **device},
        "LEASE": {"TTL": lease},
        "SCHEDULING": {"POLICY": "FREE_CPU", "REQUIREMENTS": "FREE_CPU > 10"},
    }
    if not lease:
        del body["LEASE"]
    made = Device(address).post("?wait=30", **body)
    assert made.status == 201, made.text


def fill(page: Page, sandbox: Sandbox) -> None:
    """Runtimes in all states."""
    sandbox.store.set_quota("devuser", VMS=40, CPU=64, MEMORY=16384)
    for device in DEVICES:
        order(page.address, *device)
    sandbox.store.put_vm(sandbox.store.live_vms()[-1].id, "POWEROFF")
    page.until_text("#runtimes", "harbour-camera", "owered off")
    page.create(name="mobile-unit", requirements="FREE_CPU > 100000")
    page.until_text("#runtimes", "o host")


class Album:
    """Pictures of one page."""

    def __init__(self, page: Page, sandbox: Sandbox, directory: Path) -> None:
        self.page, self.sandbox, self.directory = page, sandbox, directory

    def take(self, name: str) -> None:
        self.page.until(
            lambda: self.page.run("return [...document.images].every((it) => it.complete)")
        )
        self.page.driver.save_screenshot(str(self.directory / f"ui-{name}.png"))

    def take_all(self) -> None:
        self.take_login()
        self.take_list()
        self.take_dialogs()
        self.take_runtimes()
        self.take_views()
        self.take_dark()
        self.take_phone()
        self.take_backend_down()

    def take_login(self) -> None:
        self.page.log_in(password="wrong")
        self.page.until_text("#login-error", "does not know")
        self.take("login")
        self.page.enter()
        self.take("empty")

    def take_list(self) -> None:
        fill(self.page, self.sandbox)
        self.page.create("nature-s3", name="greenhouse", lease="3600", location="40.4168, -3.7038")
        self.page.until(lambda: self.page.all(".toast a"))
        self.page.until(lambda: not self.page.all("dialog[open]"))
        self.page.until_text("#runtimes", "greenhouse")
        self.take("runtimes")
        self.page.until(lambda: len(self.page.all("#runtimes .status.busy")) == 1)
        self.page.until(lambda: not self.page.all(".toast"))
        self.page.click('[aria-label="Actions for turnstile-12"]')
        self.take("menu")
        self.page.press("Delete…", '[role="menuitem"]')
        self.take("delete")
        self.page.press("Keep", "dialog button")

    def take_dialogs(self) -> None:
        self.page.fill_in("nature-s3", name="greenhouse-2", **{"FAAS.CPU": "2"})
        self.page.until_text("#check", "Can be created")
        self.take("create")
        self.page.write('dialog [name="FAAS.CPU"]', "2000000")
        self.page.until_text("dialog .field .error", "2000000")
        self.take("create-refused")
        self.page.press("Cancel", "dialog button")
        self.page.until(lambda: not self.page.all("dialog[open]"))

    def open(self, name: str) -> None:
        self.page.go("#/")
        self.page.click(f'#runtimes a[title="{name}"]')
        self.page.until_text("h1", name)
        self.page.until(lambda: self.page.all(".events li"))
        self.page.run("scrollTo(0, 0)")

    def take_runtimes(self) -> None:
        self.page.show_on((1280, 1180))
        self.open("greenhouse")
        self.take("runtime")
        self.page.show_on(DESKTOP)
        self.open("ferry")
        self.take("runtime-failed")

    def take_views(self) -> None:
        self.page.go("#/map")
        self.page.until(lambda: self.page.all(".map .pin"))
        self.take("map")
        self.page.go("#/flavours")
        self.page.until(lambda: self.page.all(".flavour"))
        self.take("flavours")

    def take_dark(self) -> None:
        self.page.show_on(DESKTOP, is_dark=True)
        self.page.go("#/")
        self.page.until(lambda: self.page.all("#runtimes"))
        self.take("dark")
        self.page.show_on((1280, 1180), is_dark=True)
        self.open("greenhouse")
        self.take("runtime-dark")
        self.page.show_on(DESKTOP, is_dark=True)
        self.page.driver.get(f"{self.page.address}/docs")
        self.page.until_text("#api", "Create a serverless runtime")
        self.take("docs-dark")

    def take_phone(self) -> None:
        self.page.show_on(PHONE)
        self.page.open()
        self.page.until(lambda: self.page.all("#runtimes tbody tr"))
        self.take("phone")
        self.page.click('[aria-label="Actions for greenhouse"]')
        self.take("phone-menu")
        self.page.press("Open", '[role="menuitem"]')
        self.page.until(lambda: self.page.all(".events li"))
        self.page.run("scrollTo(0, 0)")
        self.take("phone-runtime")

    def take_backend_down(self) -> None:
        self.page.show_on(DESKTOP)
        self.page.go("#/")
        self.page.until(lambda: self.page.all("#runtimes"))
        self.sandbox.faults.set("oned", "refuse")
        self.page.until_text("#banner", "reach")
        self.take("backend-down")


def main(directory: Path) -> None:
    with (
        tempfile.TemporaryDirectory() as profile,
        Sandbox(timings=SLOWLY) as sandbox,
        engine(sandbox) as address,
        chromium(Path(profile)) as driver,
    ):
        page = Page(driver, address)
        page.show_on(DESKTOP)
        page.open()
        Album(page, sandbox, directory).take_all()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
