"""Suspend, resume, and a lease that is removed, on the page."""

from __future__ import annotations

from .browser import Page
from .test_runtime import confirm, open_new


def test_suspend_and_resume(page: Page) -> None:
    page.enter()
    open_new(page, name="sleeper")
    page.until_text(".function", "Running")
    page.press("Suspend", ".heading-actions button")
    page.until_text(".heading", "Suspended")
    assert page.violations() == []
    page.press("Resume", ".heading-actions button")
    page.until_text(".heading", "Running")


def test_a_lease_is_removed(page: Page) -> None:
    page.enter()
    open_new(page, name="camera", lease="3600")
    page.until_text(".function", "Running")
    page.press("Remove", ".card-actions button")
    confirm(page)
    page.until_text("#app", "No lease: it runs until it is deleted")


def test_a_member_that_is_ignored_is_named(page: Page) -> None:
    page.enter()
    warnings = page.run(
        "return fetch('/serverless-runtimes?dry_run=true', {method: 'POST', headers: {"
        "Authorization: 'Basic ' + btoa('devuser:devpass'), 'Content-Type': 'application/json'},"
        " body: JSON.stringify({SERVERLESS_RUNTIME: {FAAS: {FLAVOUR: 'nature', MEM: 1}}})})"
        ".then((response) => response.json()).then((plan) => plan.WARNINGS)"
    )
    assert [type(warning) for warning in warnings] == [dict]
    assert "MEM" in warnings[0]["TEXT"]
