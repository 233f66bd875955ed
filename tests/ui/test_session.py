"""Logging in and out, and where the password is."""

from __future__ import annotations

from provision_engine.sandbox import Sandbox

from .browser import RUNTIMES, Page


def stored(page: Page) -> str:
    script = "return JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])"
    text: str = page.run(script)
    return text


def test_a_wrong_password_is_refused_and_shows_nothing(page: Page) -> None:
    page.log_in(password="wrong")
    page.until_text("#login-error", "does not know this user and password")
    assert page.all(".top nav") == []
    page.enter()
    page.until_text(".user", "devuser")


def test_a_password_may_contain_any_character(page: Page, sandbox: Sandbox) -> None:
    sandbox.store.add_user("jürgen", "a:ß €")
    page.log_in("jürgen", "a:ß €")
    page.until_text(".user", "jürgen")


def test_on_request_the_password_is_in_memory_only(page: Page) -> None:
    page.enter(stays=False)
    assert stored(page) == '[{},{},""]'
    page.open()
    page.until(lambda: page.all("#login"))
    assert page.all(".top nav") == []


def test_a_session_survives_a_reload_and_ends_with_the_logout(page: Page) -> None:
    page.enter()
    page.driver.refresh()
    page.until_text(".user", "devuser")
    assert page.all("#login") == []
    page.click("#logout")
    page.until(lambda: page.all("#login"))
    assert stored(page) == '[{},{},""]'
    page.driver.refresh()
    page.until(lambda: page.all("#login"))


def test_a_password_that_changed_ends_the_session(page: Page, sandbox: Sandbox) -> None:
    page.enter()
    session = page.run("return sessionStorage.getItem('provision-engine.session')")
    page.run(
        "const [session] = arguments;"
        "sessionStorage.setItem('provision-engine.session',"
        " JSON.stringify({...JSON.parse(session), authorization: 'Basic bm86bm8='}))",
        session,
    )
    page.driver.refresh()
    page.until_text("#login-error", "does not know this user")
    assert stored(page) == '[{},{},""]'


def test_a_deep_link_survives_the_login(page: Page) -> None:
    page.open("#/flavours")
    page.log_in()
    page.until_text("h1", "Flavours")


def test_one_user_s_data_is_gone_for_the_next(page: Page, sandbox: Sandbox) -> None:
    sandbox.store.add_user("other", "pass")
    page.enter()
    page.create(name="secret")
    page.until_text("#runtimes", "secret")
    page.click("#logout")
    page.requests()
    page.log_in("other", "pass")
    page.until_text(".empty", "No runtimes yet")
    assert "secret" not in page.text("body")
    assert any(RUNTIMES in url for _, url in page.requests())
