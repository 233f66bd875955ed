"""The dialog that creates a runtime."""

from __future__ import annotations

from selenium.webdriver.common.keys import Keys

from provision_engine.sandbox import Sandbox

from .browser import RUNTIMES, Page

LOSE_ONE_RESPONSE = """
const send = window.fetch;
let isLost = false;
window.fetch = async (url, options) => {
  const response = await send(url, options);
  if (options.method !== 'POST' || url.includes('dry_run') || isLost) return response;
  isLost = true;
  throw new TypeError('the connection broke');
};
"""


def test_a_runtime_is_created_and_a_toast_leads_to_it(home: Page, sandbox: Sandbox) -> None:
    home.create(name="camera", **{"FAAS.CPU": "2", "FAAS.MEMORY": "512"})
    home.until_text(".toasts", "camera is being created")
    home.click(".toast a")
    home.until_text("h1", "camera")
    home.until_text(".function", "Running", "2 cores", "512 MB")
    [runtime] = sandbox.store.documents(1337)
    assert home.driver.current_url.endswith(f"#/runtimes/{runtime.id}")


def test_a_second_click_after_a_lost_response_creates_no_second_runtime(
    home: Page, sandbox: Sandbox
) -> None:
    home.run(LOSE_ONE_RESPONSE)
    home.fill_in(name="once")
    home.submit()
    home.until_text("dialog[open] .dialog-error", "may have been created", "is safe")
    home.submit()
    home.until(lambda: not home.all("dialog[open]"))
    home.until_text("#runtimes", "once", "Running")
    assert sandbox.store.count()["runtimes"] == 1


def test_another_request_after_a_lost_response_is_rejected(home: Page, sandbox: Sandbox) -> None:
    home.run(LOSE_ONE_RESPONSE)
    home.fill_in(name="once")
    home.submit()
    home.until_text("dialog[open] .dialog-error", "may have been created")
    home.write("dialog [name=name]", "twice")
    home.submit()
    home.until_text("dialog[open] .dialog-error", "earlier attempt", "did create")
    assert sandbox.store.count()["runtimes"] == 1


def test_two_dialogs_create_two_runtimes(home: Page, sandbox: Sandbox) -> None:
    home.create(name="same")
    home.create(name="same")
    home.until(lambda: len(home.all("#runtimes .status.good")) == 2)
    assert sandbox.store.count()["runtimes"] == 2


def test_a_dry_run_checks_while_one_types_and_creates_nothing(home: Page, sandbox: Sandbox) -> None:
    home.fill_in()
    home.until_text("#check", "Can be created")
    home.write('dialog [name="FAAS.CPU"]', "2000000")
    home.until_text("dialog .field .error", "2000000")
    field = home.find('dialog [name="FAAS.CPU"]')
    assert field.get_attribute("aria-invalid") == "true"
    home.until_text("#check", "Fix the fields marked in red")
    home.write('dialog [name="FAAS.CPU"]', "2000")
    home.until_text("#check", "Can be created", "once a host has room for 2000 CPU and 128 MB")
    home.write('dialog [name="FAAS.MEMORY"]', "-5")
    home.until_text("dialog .field .error", "-5 is less than the minimum of 1")
    assert "-10" not in home.text("dialog")
    assert sandbox.store.count()["runtimes"] == 0


def test_typing_is_followed_by_one_check_and_not_one_per_key(home: Page) -> None:
    home.fill_in()
    home.until_text("#check", "Can be created")
    home.requests()
    home.run(
        "const field = document.querySelector('dialog [name=name]');"
        "for (let n = 1; n <= 20; n++) {"
        " field.value = 'x'.repeat(n); field.dispatchEvent(new Event('input', {bubbles: true})); }"
    )
    sent: list[str] = []

    def checked() -> list[str]:
        sent.extend(url for _, url in home.requests() if "dry_run" in url)
        return sent

    home.until(checked)
    home.until_text("#check", "Can be created")
    assert len(checked()) == 1


def test_a_rejected_create_leaves_the_form_open_and_says_why(page: Page, sandbox: Sandbox) -> None:
    sandbox.store.set_quota("devuser", CPU=4)
    page.enter()
    page.fill_in(name="too much", **{"FAAS.CPU": "5"})
    page.until_text("#check", "quota", "4")
    page.submit()
    page.until_text("dialog[open] .dialog-error", "quota", "4")
    assert page.find("dialog [name=name]").get_attribute("value") == "too much"
    page.write('dialog [name="FAAS.CPU"]', "4")
    page.until_text("#check", "Can be created")
    assert page.text("dialog[open] .dialog-error") == ""
    page.submit()
    page.until_text("#runtimes", "too much", "Running", "4 CPU")


def test_sizes_show_their_defaults_and_what_the_quota_leaves(page: Page, sandbox: Sandbox) -> None:
    sandbox.store.set_quota("devuser", CPU=4)
    page.enter()
    page.fill_in("nature-s3")
    assert page.find('dialog [name="DAAS.MEMORY"]').get_attribute("placeholder") == "128"
    page.until_text("dialog fieldset", "4 left in the quota", "Can grow to 256 MB")


def test_scheduling_location_and_lease_arrive(home: Page) -> None:
    home.create(
        name="placed",
        lease="3600",
        requirements="FREE_CPU > 10",
        policy="FREE_CPU",
        location="40.4168, -3.7038",
    )
    home.until_text("#runtimes", "placed", "Running", "left")
    home.press("placed", "#runtimes a")
    home.until_text(".facts", "FREE_CPU > 10", "40.4168, -3.7038")
    home.until_text("#app", "of 1h")
    assert len(home.all(".map .pin")) == 1


def test_the_flavours_page_shows_what_cannot_be_deployed_and_why(home: Page) -> None:
    home.go("#/flavours")
    home.until_text(".flavours", "DenyVMTemplate", "Not deployable", "there is no VM template 999")
    home.click('[aria-label="Create nature-s3"]')
    home.until(lambda: home.all("dialog[open] [name=flavour]"))
    assert home.find("[name=flavour]").get_attribute("value") == "nature-s3"
    offered = {option.text for option in home.all("[name=flavour] option")}
    assert offered == {"Function", "Function-Data", "nature", "nature-s3"}


def test_the_command_of_the_dialog_contains_its_fields(home: Page) -> None:
    home.fill_in(name="it's")
    home.press("The same from a shell", "dialog summary")
    command = home.until_text("dialog pre", "curl -u 'devuser'", RUNTIMES)
    assert '"NAME":"it\'\\\'\'s"' in command


def test_esc_asks_before_it_discards_a_filled_form(home: Page) -> None:
    home.click("#new")
    home.until(lambda: home.all("dialog[open] [name=name]"))
    home.type_keys(Keys.ESCAPE)
    home.until(lambda: not home.all("dialog[open]"))
    for discard in (lambda: home.press("Discard"), lambda: home.type_keys(Keys.ESCAPE)):
        home.fill_in(name="camera")
        home.type_keys(Keys.ESCAPE)
        home.until_text("dialog[open] .dialog-note", "Discard what you have entered?")
        assert home.find("dialog [name=name]").get_attribute("value") == "camera"
        discard()
        home.until(lambda: not home.all("dialog"))
