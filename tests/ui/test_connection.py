"""A backend that is down, slow, or up again."""

from __future__ import annotations

from provision_engine.sandbox import Sandbox

from .browser import Page


def test_a_backend_that_is_down_is_shown_until_it_is_back(home: Page, sandbox: Sandbox) -> None:
    home.create(name="survivor")
    home.until_text("#runtimes", "Running")
    sandbox.faults.set("oned", "refuse")
    home.until_text("#banner", "reach", "old", "Trying again")
    assert "survivor" in home.text("#runtimes")
    # It stays as long as the backend is down: for two more reads that fail, at least.
    home.run(
        "const send = window.fetch; window.failed = 0;"
        "window.fetch = async (...sent) => { const response = await send(...sent);"
        " if (response.status === 503) window.failed += 1; return response; }"
    )
    home.run(
        "window.gaps = 0; new MutationObserver(() => {"
        " if (!document.getElementById('banner')) window.gaps += 1; })"
        ".observe(document.getElementById('app'), {childList: true, subtree: true})"
    )
    home.until(lambda: home.run("return window.failed") >= 2)
    assert home.run("return window.gaps") == 0
    sandbox.faults.clear()
    home.until(lambda: not home.all("#banner"))
    home.until_text("#runtimes", "survivor", "Running")


def test_a_backend_that_hangs_is_shown_until_it_recovers(home: Page, sandbox: Sandbox) -> None:
    home.create(name="survivor")
    home.until_text("#runtimes", "Running")
    sandbox.faults.set("oned", "hang", seconds=30)
    home.until_text("#banner", "No response for", "Still waiting")
    sandbox.faults.clear()
    home.until(lambda: not home.all("#banner"))


def test_logging_in_while_a_backend_is_down(page: Page, sandbox: Sandbox) -> None:
    sandbox.faults.set("oned", "refuse")
    page.log_in()
    page.until_text("#login-error", "reach")
    sandbox.faults.clear()
    page.click("#login button")
    page.until(lambda: page.all(".empty"))


def test_a_page_of_a_runtime_survives_a_backend_that_is_down(home: Page, sandbox: Sandbox) -> None:
    home.create(name="survivor")
    home.click('#runtimes a[title="survivor"]')
    home.until_text(".function", "Running")
    sandbox.faults.set("oned", "refuse")
    home.until_text("#banner", "reach")
    assert "survivor" in home.text("h1")
    sandbox.faults.clear()
    home.until(lambda: not home.all("#banner"))


def test_the_list_s_state_is_shown_of_a_runtime_that_is_opened_while_a_backend_is_down(
    page: Page, sandbox: Sandbox
) -> None:
    page.enter()
    page.create(name="survivor")
    page.until_text("#runtimes", "Running")
    page.driver.refresh()
    page.until_text("#runtimes", "Running")
    sandbox.faults.set("oned", "refuse")
    page.until_text("#banner", "reach")
    page.click('#runtimes a[title="survivor"]')
    page.until_text(".function", "Running", "128 MB")
    page.until_text(".timeline", "Shown once OpenNebula responds again")
    assert page.all(".skeleton") == []
    sandbox.faults.clear()
    page.until_text(".timeline", "to the second")


def test_an_action_that_fails_leaves_a_message_until_somebody_closes_it(
    home: Page, sandbox: Sandbox
) -> None:
    home.create(name="victim")
    home.until_text("#runtimes", "Running")
    home.run(
        "const send = window.fetch;"
        "window.fetch = (url, options) => (url.endsWith('/suspend')"
        ' ? Promise.resolve(new Response(\'{"error": "Broken", "message": "why"}\','
        " {status: 500})) : send(url, options))"
    )
    home.act("victim", "Suspend")
    home.until_text(".toast.bad", "victim", "Broken: why")
    home.click('.toast.bad [aria-label="Dismiss"]')
    home.until(lambda: not home.all(".toast.bad"))
