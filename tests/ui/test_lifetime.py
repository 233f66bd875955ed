"""Suspend, resume, and a lease that is removed, on the page."""

from __future__ import annotations

from .browser import Page


def test_suspend_and_resume(home: Page) -> None:
    home.open_new(name="sleeper")
    home.until_text(".function", "Running")
    home.press("Suspend", ".heading-actions button")
    home.until_text(".heading", "Suspended")
    assert home.violations() == []
    home.press("Resume", ".heading-actions button")
    home.until_text(".heading", "Running")


def test_a_lease_is_removed(home: Page) -> None:
    home.open_new(name="camera", lease="3600")
    home.until_text(".function", "Running")
    home.press("Remove", ".card-actions button")
    home.confirm()
    home.until_text("#app", "No lease: it runs until it is deleted")


def test_a_member_that_is_ignored_is_named(home: Page) -> None:
    warnings = home.run(
        "return fetch('/serverless-runtimes?dry_run=true', {method: 'POST', headers: {"
        "Authorization: 'Basic ' + btoa('devuser:devpass'), 'Content-Type': 'application/json'},"
        " body: JSON.stringify({SERVERLESS_RUNTIME: {FAAS: {FLAVOUR: 'nature', MEM: 1}}})})"
        ".then((response) => response.json()).then((plan) => plan.WARNINGS)"
    )
    assert [type(warning) for warning in warnings] == [dict]
    assert "MEM" in warnings[0]["TEXT"]
