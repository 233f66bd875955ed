"""The page of one runtime, at its own address."""

from __future__ import annotations

from selenium.webdriver.common.keys import Keys

from provision_engine.sandbox import Sandbox

from .browser import Page


def test_its_address_can_be_opened_directly(page: Page) -> None:
    page.enter()
    page.open_new(name="camera")
    address = page.driver.current_url
    page.driver.get("about:blank")
    page.driver.get(address)
    page.until_text("h1", "camera")
    assert page.driver.title == "camera · Provisioning Engine"


def test_one_that_does_not_exist_is_explained(home: Page) -> None:
    home.go("#/runtimes/4711")
    home.until_text(".empty", "There is no runtime 4711", "deleted")


def test_resize(home: Page) -> None:
    home.open_new(name="camera")
    home.press("Resize", ".heading-actions button")
    home.write('dialog [name="FAAS.CPU"]', "3")
    home.write('dialog [name="FAAS.DISK_SIZE"]', "2048")
    home.confirm()
    home.until_text(".stats", "3 cores", "128 MB", "2 GB")
    home.until_text(".events", "resized")


def test_a_rejected_resize_says_why(page: Page, sandbox: Sandbox) -> None:
    sandbox.store.set_quota("devuser", CPU=4)
    page.enter()
    page.open_new(name="camera")
    page.press("Resize", ".heading-actions button")
    page.write('dialog [name="FAAS.CPU"]', "5")
    page.submit()
    page.until_text("dialog[open] .dialog-error", "quota")


def test_a_lease_is_set_renewed_and_removed(home: Page) -> None:
    home.open_new(name="camera")
    home.until_text(".function", "Running")
    home.press("Set a lease", ".card-actions button")
    home.write("dialog [name=duration]", "3")
    home.choose("dialog [name=unit]", "3600")
    home.confirm()
    home.until_text(".lease-left", "of 3h")
    home.press("Renew", ".card-actions button")
    home.write("dialog [name=duration]", "2")
    home.choose("dialog [name=unit]", "86400")
    home.confirm()
    home.until_text(".lease-left", "of 2d")
    home.press("Remove", ".card-actions button")
    home.until_text("dialog[open]", "Remove the lease?", "until it is deleted")
    home.confirm()
    home.until_text("#app", "No lease: it runs until it is deleted")


def test_while_it_waits_for_a_host_its_lease_and_its_requirements_can_be_changed(
    home: Page,
) -> None:
    home.open_new(name="waiting", lease="3600", requirements="FREE_CPU > 100000")
    home.press("Renew", ".card-actions button")
    home.write("dialog [name=duration]", "2")
    home.confirm()
    home.until_text(".lease-left", "of 2h")
    home.click('[aria-label="More actions"]')
    home.until_text('[role="menuitem"]', "Suspend", "Wait until no function is pending")
    home.type_keys(Keys.ESCAPE)
    home.press("Edit requirements")
    home.write("dialog [name=name]", "not waiting")
    home.confirm()
    home.until_text("h1", "not waiting")
    home.press("Edit requirements")
    home.write("dialog [name=requirements]", "FREE_CPU > 5")
    home.confirm()
    home.until_text(".function", "Running")


def test_name_scheduling_and_location_are_edited(home: Page) -> None:
    home.open_new(name="camera")
    home.until_text(".function", "Running")
    home.press("Edit", "section button")
    home.write("dialog [name=name]", "harbour camera")
    home.write("dialog [name=requirements]", "FREE_CPU > 5")
    home.write("dialog [name=location]", "53.5, 10.0")
    home.confirm()
    home.until_text("h1", "harbour camera")
    home.until_text(".facts", "FREE_CPU > 5", "53.5, 10.0")
    assert len(home.all(".map .pin")) == 1


def test_a_failure_is_explained_and_recovered(home: Page, sandbox: Sandbox) -> None:
    home.open_new(name="victim")
    home.until_text(".function", "Running")
    sandbox.store.put_vm(sandbox.store.live_vms()[0].id, "POWEROFF")
    home.until_text(".problem", "owered off")
    home.until_text(".heading", "Error")
    home.until_text(".events", "Function: Error")
    home.press("Recover", ".problem button")
    home.until_text("dialog[open]", "owered off", "Id and name stay the same")
    home.press("Cancel", "dialog button")
    sandbox.store.put_vm(sandbox.store.live_vms()[0].id, "RUNNING")
    home.until_text(".heading", "Running")
    assert home.all(".problem") == []


def test_a_powered_off_runtime_is_resumed_by_a_recover(home: Page, sandbox: Sandbox) -> None:
    home.open_new(name="ferry")
    home.until_text(".function", "Running")
    [vm] = sandbox.store.live_vms()
    sandbox.store.put_vm(vm.id, "POWEROFF")
    home.press("Recover", ".problem button")
    home.until_text("dialog[open]", "owered off")
    assert home.all("dialog [name=replace]") == []
    home.confirm()
    home.until_text(".toasts", "ferry is being recovered")
    home.until_text(".heading", "Running")
    assert sandbox.store.living_vms() == {vm.id: "RUNNING"}


def test_a_data_vm_is_replaced_only_if_the_dialog_allows_it(home: Page, sandbox: Sandbox) -> None:
    home.open_new("nature-s3", name="both")
    home.until(lambda: home.text(".function").count("Running") == 2)
    function, data = sandbox.store.live_vms()
    sandbox.store.put_vm(function.id, "DONE")
    home.press("Recover", ".problem button")
    home.submit()
    home.until_text("dialog[open] .dialog-error", "its DAAS would lose its disk")
    assert sandbox.store.living_vms() == {data.id: "RUNNING"}
    home.click("dialog [name=replace]")
    home.confirm()
    home.until(lambda: home.text(".function").count("Running") == 2)
    home.until(lambda: list(sandbox.store.living_vms().values()) == ["RUNNING"] * 2)
    assert not {function.id, data.id} & sandbox.store.living_vms().keys()
    assert len(sandbox.store.documents()) == 1


def test_the_timeline_shows_how_long_each_step_took(home: Page) -> None:
    home.open_new("nature-s3", name="both")
    home.until_text(".timeline", "Function", "Data", "Ordering the VM")
    assert len(home.all(".timeline .bar")) == 2
    home.until_text(".events", "Function: VM created", "Data: VM created")
    # Another session shows what OpenNebula has stored.
    home.driver.refresh()
    home.until_text(".timeline", "to the second")


def test_the_start_up_of_a_runtime_that_waits_goes_on(page: Page) -> None:
    page.enter()
    page.open_new(name="waiting", requirements="FREE_CPU > 100000")
    page.driver.refresh()  # the durations are OpenNebula's
    page.until_text(".timeline", "Waiting for a host", "2s so far")


def test_each_action_has_its_command(home: Page) -> None:
    home.open_new(name="camera")
    number = home.driver.current_url.rpartition("/")[2]
    address = f"{home.address}/serverless-runtimes/{number}"
    expected = {
        "Read": f"curl -u 'devuser' {address}",
        "Delete": f"curl -u 'devuser' -X DELETE {address}",
        "Suspend": f"curl -u 'devuser' -X POST {address}/suspend",
        "Recover": f"curl -u 'devuser' -X POST '{address}/recover?wait=60'",
    }
    for name, command in expected.items():
        home.press(name, ".tab")
        home.until(lambda command=command: home.text(".code-box pre") == command)


def test_delete_leads_back_to_the_list(home: Page, sandbox: Sandbox) -> None:
    home.open_new(name="camera")
    home.press("Delete", ".heading-actions button")
    home.until_text("dialog[open]", "camera", "removed with its VMs")
    home.confirm()
    home.until_text(".empty", "No runtimes yet")
    home.until_text(".toasts", "camera is deleted")
    home.until(lambda: sandbox.store.count() == {"runtimes": 0, "services": 0, "vms": 0})


def test_an_unchanged_runtime_is_not_sent_again(home: Page) -> None:
    home.open_new(name="camera")
    home.until_text(".function", "Running")
    script = (
        "const send = window.fetch; window.statuses = [];"
        "window.fetch = async (url, options) => {"
        " const response = await send(url, options); window.statuses.push(response.status);"
        " return response; }"
    )
    home.run(script)
    home.until(lambda: 304 in home.run("return window.statuses"))


def test_the_map_leads_to_the_runtimes_of_a_place_and_counts_failures(
    home: Page, sandbox: Sandbox
) -> None:
    home.create(name="madrid", location="40.4168, -3.7038")
    home.create(name="sydney", location="-33.8568, 151.2153")
    home.create(name="sydney 2", location="-33.9, 151.2")
    home.until(lambda: len(home.all("#runtimes .status.good")) == 3)
    sandbox.store.put_vm(sandbox.store.live_vms()[1].id, "POWEROFF")
    home.press("Map", "nav a")
    home.until(lambda: len(home.all(".map .pin")) == 2)
    home.until(lambda: home.text(".map .pin.many") == "1/2")
    assert "1 with an error" in home.find(".map .pin.many").get_attribute("aria-label")
    home.click(".map .pin.many")
    home.until_text(".places", "sydney", "sydney 2")
    assert "madrid" not in home.text(".places")
    home.press("sydney", ".places a")
    home.until_text("h1", "sydney")


def test_suspend_and_resume(home: Page) -> None:
    home.open_new(name="sleeper")
    home.until_text(".function", "Running")
    home.press("Suspend", ".heading-actions button")
    home.until_text(".heading", "Suspended")
    home.until_text("#app", "To edit: resume the runtime first.")
    home.press("Set a lease", ".card-actions button")
    home.confirm()
    home.until_text(".lease-left", "of 1h")
    assert home.violations() == []
    home.press("Resume", ".heading-actions button")
    home.until_text(".heading", "Running")


def test_a_member_that_is_ignored_is_named(home: Page) -> None:
    warnings = home.run(
        "return fetch('/serverless-runtimes?dry_run=true', {method: 'POST', headers: {"
        "Authorization: 'Basic ' + btoa('devuser:devpass'), 'Content-Type': 'application/json'},"
        " body: JSON.stringify({SERVERLESS_RUNTIME: {FAAS: {FLAVOUR: 'nature', MEM: 1}}})})"
        ".then((response) => response.json()).then((plan) => plan.WARNINGS)"
    )
    assert [type(warning) for warning in warnings] == [dict]
    assert "MEM" in warnings[0]["TEXT"]
