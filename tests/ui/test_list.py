"""The list of runtimes: it follows the engine, sorts, narrows down, and acts on several at once."""

from __future__ import annotations

import pytest

from provision_engine.sandbox import Sandbox

from .browser import RUNTIMES, Page
from .conftest import OpenPage


def names(page: Page) -> list[str]:
    found: list[str] = page.run(
        "return [...document.querySelectorAll('#runtimes td.name a')].map((a) => a.title)"
    )
    return found


def number(name: str) -> int:
    return int(name.removeprefix("runtime"))


def many(sandbox: Sandbox, count: int) -> None:
    """Running runtimes of user0, whose password is pass0."""
    sandbox.store.populate(users=1, runtimes=count, flow_templates=0)


def enter_as_user0(page: Page) -> None:
    page.log_in("user0", "pass0")
    page.until(lambda: page.all("#runtimes tbody tr"))


def test_standby_runtimes_are_shown_only_on_request(open_page: OpenPage, sandbox: Sandbox) -> None:
    with open_page(standby={"flavours": {"nature": 1}, "seconds": 600}) as page:
        page.enter()
        page.create(name="camera")
        page.until(lambda: sandbox.store.count()["runtimes"] == 2)
        page.until(lambda: names(page) == ["camera"])
        page.click("#filter-standby")
        page.until(lambda: len(names(page)) == 2)
        [standby] = page.all("#runtimes tr.standby")
        assert "Standby" in standby.text
        assert "camera" not in standby.text
        page.click("#filter-standby")
        page.until(lambda: names(page) == ["camera"])


def test_a_standby_can_be_shown_without_other_runtimes(
    open_page: OpenPage, sandbox: Sandbox
) -> None:
    with open_page(standby={"flavours": {"nature": 1}, "seconds": 600}) as page:
        page.enter()
        page.create(name="camera")
        page.until(lambda: sandbox.store.count()["runtimes"] == 2)
        page.act("camera", "Delete…")
        page.submit()
        page.until_text(".empty", "No runtimes yet")
        page.click("#filter-standby")
        page.until(lambda: len(page.all("#runtimes tr.standby")) == 1)


def test_an_empty_list_explains_the_first_step(home: Page) -> None:
    home.until_text(".empty", "No runtimes yet", "nature-s3")
    home.press("nature", ".empty button")
    home.until_text("dialog[open]", "New runtime")
    assert home.find("[name=flavour]").get_attribute("value") == "nature"


def test_a_new_runtime_is_on_top(home: Page) -> None:
    for name in ("first", "second", "third"):
        home.create(name=name)
    home.until(lambda: names(home) == ["third", "second", "first"])
    assert home.all("#filter-standby") == []  # there are no standby runtimes
    home.until(lambda: len(home.all("#runtimes .status.good")) == 3)


def test_a_row_shows_sizes_endpoint_and_lease(home: Page, sandbox: Sandbox) -> None:
    home.create("nature-s3", name="both", lease="3600", **{"FAAS.CPU": "2", "FAAS.MEMORY": "1536"})
    row = home.until_text("#runtimes tbody tr", "Running", "left")
    assert "2 CPU · 1.5 GB · 1 GB" in row
    assert "1 CPU · 128 MB · 1 GB" in row
    assert len(home.all("#runtimes td.endpoint code")) == 2
    vm = sandbox.store.live_vms()[0]
    assert home.all("#runtimes td.endpoint code")[0].text in sandbox.store.vm_xml(vm.id)


def test_a_long_name_is_shown_short_and_whole_on_hover(home: Page) -> None:
    home.create()  # named by the engine, with a UUID
    link = home.until(lambda: home.find("#runtimes td.name a"))
    assert link.text.endswith("…")
    assert link.get_attribute("title").startswith(link.text[:-1])


def test_search_and_filters_narrow_the_list_and_stand_in_the_address(
    home: Page, sandbox: Sandbox
) -> None:
    home.create("nature", name="camera")
    home.create("Function", name="weather")
    home.until(lambda: len(home.all("#runtimes .status.good")) == 2)
    sandbox.store.put_vm(sandbox.store.live_vms()[-1].id, "POWEROFF")
    home.until(lambda: len(home.all("#runtimes .status.bad")) == 1)

    home.write("#search", "cam")
    home.until(lambda: names(home) == ["camera"])
    home.write("#search", "nothing like it")
    home.until_text(".empty", "No runtime matches")
    home.press("Clear the filters", ".empty a")
    home.until(lambda: len(names(home)) == 2)

    home.choose("#filter-flavour", "Function")
    home.until(lambda: names(home) == ["weather"])
    home.choose("#filter-flavour", "")
    home.click(".count.bad")
    home.until(lambda: names(home) == ["weather"])
    assert "state=ERROR" in home.driver.current_url
    assert home.find(".count.bad").get_attribute("aria-pressed") == "true"


def test_what_failed_is_first_and_columns_sort(page: Page, sandbox: Sandbox) -> None:
    many(sandbox, 12)
    sandbox.store.put_vm(sandbox.store.live_vms()[5].id, "POWEROFF")
    enter_as_user0(page)
    page.until_text("#runtimes tbody tr:first-child", "owered off")
    by_default = names(page)
    assert by_default[1:] == sorted(by_default[1:], key=number, reverse=True)
    page.press("Name", "#runtimes th button")
    page.until(lambda: names(page) == sorted(by_default, key=number))
    assert "sort=name" in page.driver.current_url
    page.click("#runtimes th[aria-sort=ascending] button")
    page.until(lambda: names(page) == sorted(by_default, key=number, reverse=True))
    page.click("#runtimes th[aria-sort=descending] button")
    page.until(lambda: names(page) == by_default)
    rows = [row.rect for row in page.all("#runtimes tbody tr")]
    assert sum(row["y"] + row["height"] <= 800 for row in rows) >= 10


def test_the_summary_counts_states_and_shows_the_quota(page: Page, sandbox: Sandbox) -> None:
    sandbox.store.set_quota("devuser", VMS=4, MEMORY=2048)
    page.enter()
    page.create(name="one")
    page.until(lambda: page.text(".count.good .number") == "1")
    page.until_text(".meters", "1 of 4", "128 MB of 2 GB")


def test_several_are_deleted_at_once_and_a_failure_stops_none(home: Page, sandbox: Sandbox) -> None:
    for name in ("a", "b", "c"):
        home.create(name=name)
    home.until(lambda: len(home.all("#runtimes .status.good")) == 3)
    # The DELETE of b fails once; those of the others are sent as they are.
    target = home.find('[aria-label="Select b"]').find_element("xpath", "ancestor::tr")
    path = f"{RUNTIMES}/{target.get_attribute('data-id')}"
    home.run(
        "const [path] = arguments, send = window.fetch;"
        "window.fetch = (url, options) => (options.method === 'DELETE' && url === path"
        ' ? Promise.resolve(new Response(\'{"error": "Not now", "message": "busy"}\','
        " {status: 503, headers: {'Content-Type': 'application/json'}})) : send(url, options))",
        path,
    )
    home.click('[aria-label="Select this page"]')
    home.until_text(".selection", "3 selected")
    home.click("#delete-selected")
    home.until_text("dialog[open]", "Delete 3 runtimes?", "a", "b", "c")
    home.submit()
    home.until_text(".toasts", "2 runtimes deleted", "b is not deleted", "Not now")
    home.until(lambda: names(home) == ["b"])
    home.until(lambda: sandbox.store.count()["runtimes"] == 1)


def test_nothing_is_deleted_without_confirmation(home: Page, sandbox: Sandbox) -> None:
    home.create(name="keeper")
    home.until_text("#runtimes", "Running")
    home.act("keeper", "Delete…")
    home.until_text("dialog[open]", "keeper")
    home.press("Keep", "dialog button")
    home.until(lambda: not home.all("dialog[open]"))
    assert sandbox.store.count()["runtimes"] == 1


def test_five_hundred_runtimes_take_few_requests_and_one_screenful(
    page: Page, sandbox: Sandbox, record_property: pytest.RecordProperty
) -> None:
    many(sandbox, 500)
    page.requests()
    page.run(
        "new MutationObserver((_, it) => { if (document.querySelector('#runtimes tbody tr'))"
        " { window.shownAt = performance.now(); it.disconnect(); } })"
        ".observe(document.body, {childList: true, subtree: true})"
    )
    enter_as_user0(page)
    page.until_text(".pager", "1–25 of 500")
    sent = [(method, url) for method, url in page.requests() if "/ui/" not in url]
    assert len(sent) < 10, sent
    assert not [url for _, url in sent if url.endswith("/timeline")]
    assert len(page.all("#runtimes tbody tr")) == 25
    assert page.run("return document.documentElement.scrollHeight") < 2500

    answered_at = page.run(
        "return performance.getEntriesByType('resource')"
        ".find((entry) => entry.name.includes('/serverless-runtimes?')).responseEnd"
    )
    milliseconds = round(page.run("return window.shownAt") - answered_at)
    record_property("milliseconds_from_response_to_list", milliseconds)
    print(f"500 runtimes: shown {milliseconds} ms after the response, {len(sent)} requests")

    page.press("Next", ".pager button")
    page.until_text(".pager", "26–50 of 500")
    page.write("#search", "runtime499")
    page.until(lambda: names(page) == ["runtime499"])


def test_the_columns_do_not_move_when_the_content_changes(page: Page, sandbox: Sandbox) -> None:
    def columns() -> list[int]:
        found: list[int] = page.run(
            "return [...document.querySelectorAll('#runtimes th')]"
            ".map((th) => Math.round(th.getBoundingClientRect().left))"
        )
        return found

    page.enter()
    page.create(name="x")
    page.until_text("#runtimes", "Running")
    before = columns()
    sandbox.store.put_vm(sandbox.store.live_vms()[0].id, "UNKNOWN")
    page.until_text("#runtimes", "Error")
    page.create(
        "nature-s3", name="a name that is much longer than the first one was, and then some"
    )
    page.until(lambda: len(names(page)) == 2)
    assert columns() == before


def test_device_info_is_shown_as_text_and_not_as_markup(page: Page) -> None:
    name = "<img src=x onerror=document.title='hacked'>"
    page.enter()
    page.create(name=name)
    page.until_text("#runtimes", name, "Running")
    assert "hacked" not in page.driver.title


def test_keys_search_create_and_explain_themselves(home: Page) -> None:
    home.create(name="camera")
    home.until(lambda: names(home) == ["camera"])
    home.go("#/flavours")
    home.until_text("h1", "Flavours")
    home.type_keys("?")
    home.until_text("dialog[open]", "Keys", "Search the list", "New runtime")
    assert home.violations() == []
    home.press("Close")
    home.until(lambda: not home.all("dialog"))
    home.run("document.activeElement.blur()")
    home.type_keys("/")
    home.until(lambda: home.focused.get_attribute("id") == "search")
    home.type_keys("n/?")
    home.until_text(".empty", "No runtime matches")
    assert not home.all("dialog")
    home.run("document.activeElement.blur()")
    home.type_keys("n")
    home.until_text("dialog[open]", "New runtime")


def test_an_administrator_sees_all_runtimes_with_their_owners(page: Page, sandbox: Sandbox) -> None:
    many(sandbox, 2)
    enter_as_user0(page)
    assert page.all("#filter-all-users") == []
    page.click("#logout")
    page.log_in("oneadmin", "opennebula")
    page.until_text(".empty", "No runtimes yet")
    page.click("#filter-all-users")
    page.until(lambda: len(names(page)) == 2)
    assert page.text("#runtimes td.owner") == "user0 user0"
    page.click('#runtimes a[title="runtime1"]')
    page.until_text(".function", "Running")
    page.click(".back")
    page.until_text("#runtimes td.owner", "user0 user0")
    page.write("#search", "user0 runtime1")
    page.until(lambda: names(page) == ["runtime1"])
    page.click("#filter-all-users")
    page.until_text(".empty", "No runtimes yet")


def test_several_are_suspended_resumed_and_recovered_at_once(home: Page, sandbox: Sandbox) -> None:
    for name in ("a", "b", "c"):
        home.create(name=name)
    home.until(lambda: len(home.all("#runtimes .status.good")) == 3)
    sandbox.store.put_vm(sandbox.store.live_vms()[0].id, "POWEROFF")
    home.until(lambda: len(home.all("#runtimes .status.bad")) == 1)
    home.click('[aria-label="Select this page"]')
    home.until_text(".selection", "3 selected", "Suspend 2", "Recover 1")
    assert home.violations() == []
    home.press("Suspend 2", ".selection button")
    home.until_text("dialog[open]", "Suspend 2 runtimes?", "keep disks and addresses")
    home.confirm()
    home.until(lambda: len(home.all("#runtimes .status.idle")) == 2)
    home.until_text(".selection", "1 selected")
    home.press("Recover 1", ".selection button")
    home.confirm()
    home.until(lambda: not home.all(".selection"))
    home.until(lambda: len(home.all("#runtimes .status.good")) == 1)
    home.click('[aria-label="Select this page"]')
    home.press("Resume 2", ".selection button")
    home.confirm()
    home.until(lambda: len(home.all("#runtimes .status.good")) == 3)
