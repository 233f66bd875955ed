"""The page of one runtime, at its own address."""

from __future__ import annotations

from provision_engine.sandbox import Sandbox

from .browser import Page


def open_new(page: Page, flavour: str = "nature", **fields: str) -> None:
    """Create a runtime and open its page."""
    page.create(flavour, **fields)
    page.click(f'#runtimes a[title="{fields["name"]}"]')
    page.until_text("h1", fields["name"])


def confirm(page: Page) -> None:
    page.submit()
    page.until(lambda: not page.all("dialog[open]"))


def test_its_address_can_be_opened_directly(page: Page) -> None:
    page.enter(stays=True)
    open_new(page, name="camera")
    address = page.driver.current_url
    page.driver.get("about:blank")
    page.driver.get(address)
    page.until_text("h1", "camera")
    assert page.driver.title == "camera · Provisioning Engine"


def test_one_that_does_not_exist_is_explained(page: Page) -> None:
    page.enter()
    page.go("#/runtimes/4711")
    page.until_text(".empty", "There is no runtime 4711", "deleted")


def test_resize(page: Page) -> None:
    page.enter()
    open_new(page, name="camera")
    page.press("Resize", ".heading-actions button")
    page.write('dialog [name="FAAS.CPU"]', "3")
    page.write('dialog [name="FAAS.DISK_SIZE"]', "2048")
    confirm(page)
    page.until_text(".stats", "3 cores", "128 MB", "2 GB")
    page.until_text(".events", "resized")


def test_a_rejected_resize_says_why(page: Page, sandbox: Sandbox) -> None:
    sandbox.store.set_quota("devuser", CPU=4)
    page.enter()
    open_new(page, name="camera")
    page.press("Resize", ".heading-actions button")
    page.write('dialog [name="FAAS.CPU"]', "5")
    page.submit()
    page.until_text("dialog[open] .dialog-error", "quota")


def test_a_lease_is_set_and_renewed(page: Page) -> None:
    page.enter()
    open_new(page, name="camera")
    page.until_text(".function", "Running")
    page.press("Set a lease", ".card-actions button")
    page.write("dialog [name=duration]", "3")
    page.choose("dialog [name=unit]", "3600")
    confirm(page)
    page.until_text(".lease-left", "of 3h")
    page.press("Renew", ".card-actions button")
    page.write("dialog [name=duration]", "2")
    page.choose("dialog [name=unit]", "86400")
    confirm(page)
    page.until_text(".lease-left", "of 2d")
    page.press("Remove", ".card-actions button")
    page.until_text("dialog[open]", "Remove the lease?", "until it is deleted")


def test_while_pending_a_lease_cannot_be_renewed_and_the_page_says_so(
    page: Page, sandbox: Sandbox
) -> None:
    page.enter()
    open_new(page, name="waiting", lease="3600", requirements="FREE_CPU > 100000")
    page.until_text("#app", "Possible once no function is pending or updating")
    [button] = [b for b in page.all(".card-actions button") if b.text == "Renew"]
    assert not button.is_enabled()


def test_name_scheduling_and_location_are_edited(page: Page) -> None:
    page.enter()
    open_new(page, name="camera")
    page.until_text(".function", "Running")
    page.press("Edit", "section button")
    page.write("dialog [name=name]", "harbour camera")
    page.write("dialog [name=requirements]", "FREE_CPU > 5")
    page.write("dialog [name=location]", "53.5, 10.0")
    confirm(page)
    page.until_text("h1", "harbour camera")
    page.until_text(".facts", "FREE_CPU > 5", "53.5, 10.0")
    assert len(page.all(".map .pin")) == 1


def test_a_failure_is_explained_and_recovered(page: Page, sandbox: Sandbox) -> None:
    page.enter()
    open_new(page, name="victim")
    page.until_text(".function", "Running")
    sandbox.store.put_vm(sandbox.store.live_vms()[0].id, "POWEROFF")
    page.until_text(".problem", "owered off")
    page.press("Recover", ".problem button")
    page.until_text("dialog[open]", "owered off", "Id and name stay the same")
    page.press("Cancel", "dialog button")
    sandbox.store.put_vm(sandbox.store.live_vms()[0].id, "RUNNING")
    page.until_text(".heading", "Running")
    assert page.all(".problem") == []


def test_a_powered_off_runtime_is_resumed_by_a_recover(page: Page, sandbox: Sandbox) -> None:
    page.enter()
    open_new(page, name="ferry")
    page.until_text(".function", "Running")
    [vm] = sandbox.store.live_vms()
    sandbox.store.put_vm(vm.id, "POWEROFF")
    page.press("Recover", ".problem button")
    page.until_text("dialog[open]", "owered off")
    assert page.all("dialog [name=replace]") == []
    confirm(page)
    page.until_text(".toasts", "ferry is being recovered")
    page.until_text(".heading", "Running")
    assert sandbox.store.living_vms() == {vm.id: "RUNNING"}


def test_a_data_vm_is_replaced_only_if_the_dialog_allows_it(page: Page, sandbox: Sandbox) -> None:
    page.enter()
    open_new(page, "nature-s3", name="both")
    page.until(lambda: page.text(".function").count("Running") == 2)
    function, data = sandbox.store.live_vms()
    sandbox.store.put_vm(function.id, "DONE")
    page.press("Recover", ".problem button")
    page.submit()
    page.until_text("dialog[open] .dialog-error", "its DAAS would lose its disk")
    assert sandbox.store.living_vms() == {data.id: "RUNNING"}
    page.click("dialog [name=replace]")
    confirm(page)
    page.until(lambda: page.text(".function").count("Running") == 2)
    page.until(lambda: list(sandbox.store.living_vms().values()) == ["RUNNING"] * 2)
    assert not {function.id, data.id} & sandbox.store.living_vms().keys()
    assert len(sandbox.store.documents()) == 1


def test_the_timeline_shows_how_long_each_step_took(page: Page) -> None:
    page.enter()
    open_new(page, "nature-s3", name="both")
    page.until_text(".timeline", "Function", "Data", "Ordering the VM")
    assert len(page.all(".timeline .bar")) == 2
    page.until_text(".events", "Function: VM created", "Data: VM created")
    # Another session shows what OpenNebula has stored.
    page.driver.refresh()
    page.log_in()
    page.until_text(".timeline", "to the second")


def test_each_action_has_its_command(page: Page) -> None:
    page.enter()
    open_new(page, name="camera")
    number = page.driver.current_url.rpartition("/")[2]
    address = f"{page.address}/serverless-runtimes/{number}"
    expected = {
        "Read": f"curl -u 'devuser' {address}",
        "Delete": f"curl -u 'devuser' -X DELETE {address}",
        "Suspend": f"curl -u 'devuser' -X POST {address}/suspend",
        "Recover": f"curl -u 'devuser' -X POST '{address}/recover?wait=60'",
    }
    for name, command in expected.items():
        page.press(name, ".tab")
        page.until(lambda command=command: page.text(".code-box pre") == command)


def test_delete_leads_back_to_the_list(page: Page, sandbox: Sandbox) -> None:
    page.enter()
    open_new(page, name="camera")
    page.press("Delete", ".heading-actions button")
    page.until_text("dialog[open]", "camera", "removed with its VMs")
    confirm(page)
    page.until_text(".empty", "No runtimes yet")
    page.until_text(".toasts", "camera is deleted")
    page.until(lambda: sandbox.store.count() == {"runtimes": 0, "services": 0, "vms": 0})


def test_an_unchanged_runtime_is_not_sent_again(page: Page) -> None:
    page.enter()
    open_new(page, name="camera")
    page.until_text(".function", "Running")
    script = (
        "const send = window.fetch; window.statuses = [];"
        "window.fetch = async (url, options) => {"
        " const response = await send(url, options); window.statuses.push(response.status);"
        " return response; }"
    )
    page.run(script)
    page.until(lambda: 304 in page.run("return window.statuses"))


def test_the_map_leads_to_the_runtimes_of_a_place(page: Page) -> None:
    page.enter()
    page.create(name="madrid", location="40.4168, -3.7038")
    page.create(name="sydney", location="-33.8568, 151.2153")
    page.create(name="sydney 2", location="-33.9, 151.2")
    page.press("Map", "nav a")
    page.until(lambda: len(page.all(".map .pin")) == 2)
    page.click(".map .pin.many")
    page.until_text(".places", "sydney", "sydney 2")
    assert "madrid" not in page.text(".places")
    page.press("sydney", ".places a")
    page.until_text("h1", "sydney")
