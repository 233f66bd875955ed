"""/docs: Swagger UI with a way back."""

from __future__ import annotations

import pytest

from .browser import DESKTOP, PHONE, Page


@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
def test_swagger_ui_shows_the_document_without_leaving_the_host(page: Page, is_dark: bool) -> None:
    page.show_on(DESKTOP, is_dark=is_dark)
    page.driver.get(f"{page.address}/docs")
    page.until_text("#api", "Provisioning Engine", "Create a serverless runtime", "/metrics")
    assert bool(page.all("html.dark-mode")) == is_dark
    page.click("#operations-runtimes-create_runtime button.opblock-summary-control")
    page.until_text("#operations-runtimes-create_runtime", "Idempotency-Key", "dry_run")
    # Violations of Swagger UI itself are not ours to fix.
    assert page.violations("{exclude: ['#api']}") == []
    page.press("Runtimes", "nav a")
    page.until(lambda: page.all("#login"))


def test_it_fits_a_phone(page: Page) -> None:
    page.show_on(PHONE)
    page.driver.get(f"{page.address}/docs")
    page.click("#operations-runtimes-create_runtime button.opblock-summary-control")
    page.until_text("#operations-runtimes-create_runtime", "Idempotency-Key", "dry_run")
    assert page.run("return document.documentElement.scrollWidth") == PHONE[0]
