"""What a person does on /ui, in a real browser, against the engine and a sandbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from provision_engine.sandbox import Sandbox

if TYPE_CHECKING:
    from .browser import Page

FAILED_DEPLOYING = 7
TAB, ENTER, ESCAPE = "\ue004", "\ue007", "\ue00c"


def test_log_in_create_see_it_run_resize_and_delete(page: Page, sandbox: Sandbox) -> None:
    page.login()
    page.until_text("#empty", "no serverless runtime yet")
    page.create("nature", name="camera", **{"FAAS.CPU": "2", "FAAS.MEMORY": "512"})
    page.until_text("#runtimes", "camera", "RUNNING", "2 cores, 512 MB")
    vm = sandbox.store.live_vms()[0]
    endpoint = page.until_text("#runtimes code", ".")
    assert endpoint in sandbox.store.vm_xml(vm.id)

    page.press("Resize")
    page.write('#resize [name="FAAS.CPU"]', "3")
    page.write('#resize [name="FAAS.DISK_SIZE"]', "2048")
    page.click("#resize [type=submit]")
    page.until_text("#runtimes", "3 cores, 512 MB, disk 2048 MB")

    page.press("Delete")
    page.until_text("#delete", "camera", "its VMs are removed")
    page.click("#delete [type=submit]")
    page.until_text("#empty", "no serverless runtime yet")
    page.until(lambda: sandbox.store.count() == {"runtimes": 0, "services": 0, "vms": 0})


def test_nothing_is_deleted_without_confirmation(page: Page, sandbox: Sandbox) -> None:
    page.login()
    page.create("nature", name="keeper")
    page.until_text("#runtimes", "RUNNING")
    page.press("Delete")
    assert page.driver.switch_to.active_element.text == "Keep it"
    page.driver.switch_to.active_element.send_keys(ENTER)
    page.until(lambda: not page.find("#delete").get_attribute("open"))
    assert sandbox.store.count()["runtimes"] == 1


def test_a_wrong_password_is_told_and_leads_nowhere(page: Page) -> None:
    page.login(password="wrong")
    page.until_text("#login-error", "does not know this user and password")
    assert not page.find("#work").is_displayed()
    page.login()
    page.until(lambda: page.find("#work").is_displayed())


def test_a_password_may_hold_anything(page: Page, sandbox: Sandbox) -> None:
    sandbox.store.add_user("jürgen", "a:ß €")
    page.login("jürgen", "a:ß €")
    page.until_text("#user", "jürgen")


def test_the_password_is_kept_in_the_page_only(page: Page) -> None:
    page.login()
    page.until(lambda: page.find("#work").is_displayed())
    kept = page.driver.execute_script(
        "return JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie,"
        " document.getElementById('login-password').value])"
    )
    assert kept == '[{},{},"",""]'
    page.driver.refresh()
    page.until(lambda: page.find("#login").is_displayed())
    assert not page.find("#work").is_displayed()


def test_a_backend_that_is_down_is_told_until_it_is_back(page: Page, sandbox: Sandbox) -> None:
    page.login()
    page.create("nature", name="survivor")
    page.until_text("#runtimes", "RUNNING")
    sandbox.faults.set("oned", "refuse")
    page.until_text("#trouble", "OpenNebula cannot be reached", "trying again")
    assert "survivor" in page.text("#runtimes")
    sandbox.faults.clear()
    page.until(lambda: not page.find("#trouble").is_displayed())


def test_logging_in_while_a_backend_is_down(page: Page, sandbox: Sandbox) -> None:
    sandbox.faults.set("oned", "refuse")
    page.login()
    page.until_text("#login-error", "OpenNebula cannot be reached")
    sandbox.faults.clear()
    page.click("#login-form button")
    page.until(lambda: page.find("#work").is_displayed())


def test_the_form_offers_what_can_be_deployed_and_tells_why_not(page: Page) -> None:
    page.login()
    page.click("#new")
    page.until(lambda: page.all("#create-flavour option"))
    offered = {option.text for option in page.all("#create-flavour option")}
    assert offered == {"Function", "Function-Data", "nature", "nature-s3"}
    page.click("#unusable summary")
    page.until_text("#unusable", "DenyVMTemplate", "FAILED_DEPLOY", "there is no VM template 999")


def test_a_refused_create_keeps_the_form_and_tells_why(page: Page, sandbox: Sandbox) -> None:
    page.login()
    page.until(lambda: page.find("#work").is_displayed())
    sandbox.store.set_quota("devuser", CPU=4)
    page.create("nature", name="too much", **{"FAAS.CPU": "5"})
    page.until_text("#create .error", "quota", "4")
    assert page.find("#create-name").get_attribute("value") == "too much"
    page.write('[name="FAAS.CPU"]', "4")
    page.click("#create [type=submit]")
    page.until_text("#runtimes", "too much", "RUNNING", "4 cores")


def test_function_and_data_a_lease_and_the_times_of_a_create(page: Page, sandbox: Sandbox) -> None:
    page.login()
    page.create("nature-s3", name="both", lease="600", location="40.4168, -3.7038")
    page.until(lambda: len(page.all("#runtimes .badge.RUNNING")) == 2)
    page.until_text("#runtimes", "FAAS", "DAAS", "left")
    page.until_text(".steps", "service and VM", "ready")
    page.until_text("#places", "both: 40.4168, -3.7038")
    assert len(page.all("#map .pin")) == 1
    page.press("Renew")
    page.write("#renew-minutes", "1440")
    page.click("#renew [type=submit]")
    page.until_text("#runtimes", "23 h 59 min left")


def test_an_error_is_explained_and_can_be_recovered(page: Page, sandbox: Sandbox) -> None:
    page.login("oneadmin", "opennebula")  # who may recover VMs, as ordinary owners may not
    page.until(lambda: page.find("#work").is_displayed())
    sandbox.faults.drivers.set("boot", fails=True)
    page.create("nature", name="victim")
    page.until_text("#runtimes", "ERROR", "BOOT_FAILURE", "Recover")
    sandbox.faults.drivers.clear()
    page.until(lambda: sandbox.store.services()[0]["state"] == FAILED_DEPLOYING)
    page.press("Recover")
    page.until_text("#runtimes", "RUNNING")
    assert "BOOT_FAILURE" not in page.text("#runtimes")


def test_all_can_be_done_with_the_keyboard(page: Page, sandbox: Sandbox) -> None:
    def type_keys(*keys: str) -> None:
        for key in keys:
            page.driver.switch_to.active_element.send_keys(key)

    type_keys("devuser", TAB, "devpass", ENTER)
    page.until(lambda: page.find("#work").is_displayed())
    page.until(lambda: page.driver.switch_to.active_element.get_attribute("id") == "main")
    type_keys(TAB)
    assert page.driver.switch_to.active_element.get_attribute("id") == "new"
    type_keys(ENTER)
    page.until(lambda: page.find("#create").get_attribute("open"))
    type_keys(ESCAPE)
    page.until(lambda: not page.find("#create").get_attribute("open"))
    assert page.driver.switch_to.active_element.get_attribute("id") == "new"
    assert sandbox.store.count()["runtimes"] == 0


def test_a_screen_reader_finds_names_for_everything(page: Page) -> None:
    page.login()
    page.create("nature-s3", name="named")
    page.until(lambda: len(page.all("#runtimes .badge.RUNNING")) == 2)
    page.press("Resize")
    nodes = page.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    controls = ("button", "textbox", "combobox", "spinbutton", "link", "dialog")
    seen = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node.get("ignored") and node["role"]["value"] in controls
    ]
    assert ("dialog", "Resize named") in seen
    assert ("spinbutton", "Cores") in seen
    assert [entry for entry in seen if not entry[1]] == []


def test_what_a_device_says_is_text_and_no_markup(page: Page, sandbox: Sandbox) -> None:
    name = "<img src=x onerror=document.title='hacked'>"
    page.login()
    page.create("nature", name=name)
    page.until_text("#runtimes", name, "RUNNING")
    assert page.driver.title == "Serverless runtimes"


@pytest.mark.parametrize("path", ["/docs"])
def test_swagger_ui_shows_the_document_without_leaving_the_host(page: Page, path: str) -> None:
    page.driver.get(f"{page.address}{path}")
    page.until_text("#api", "Provisioning Engine", "Create a serverless runtime", "/metrics")
    page.click("#operations-runtimes-create_runtime button.opblock-summary-control")
    page.until_text("#operations-runtimes-create_runtime", "Idempotency-Key", "dry_run")
