"""Every view on every device: axe-core, keyboard, sizes of targets, no horizontal scrolling."""

from __future__ import annotations

import pytest

from provision_engine.sandbox import Sandbox

from .browser import DESKTOP, PHONE, TABLET, Page

TAB, ENTER, ESCAPE, DOWN, END = "\ue004", "\ue007", "\ue00c", "\ue015", "\ue010"
DEVICES = {False: (DESKTOP, TABLET, PHONE), True: (DESKTOP, PHONE)}
"""The sizes that are looked at in the light, and in the dark."""

SMALL_TARGETS = """
return [...document.querySelectorAll('button, a, input, select, summary')]
  .filter((it) => it.checkVisibility({visibilityProperty: true}) && !it.closest('p, dd'))
  .map((it) => [it, (it.closest('label.pick, label.check') || it).getBoundingClientRect()])
  .filter(([it, box]) => box.width > 1 && (box.height < 43.5 || box.width < 43.5))
  .map(([it, box]) => `${it.outerHTML.slice(0, 120)} ${box.width} x ${box.height}`)
"""


def check(page: Page, name: str, is_dark: bool) -> None:
    """Look at the page as it is now on each device, on the desktop last."""
    for size in reversed(DEVICES[is_dark]):
        page.show_on(size, is_dark=is_dark)
        page.until(lambda: page.run("return innerWidth") == size[0])  # noqa: B023
        assert page.violations() == [], f"{name} on {size}"
        wide = page.run("return document.documentElement.scrollWidth")
        assert wide <= size[0], f"{name} scrolls sideways: {wide}"
        if size == PHONE:
            assert page.run(SMALL_TARGETS) == [], name


def fill(page: Page, sandbox: Sandbox) -> None:
    """Runtimes in several states, and a quota."""
    sandbox.store.set_quota("devuser", VMS=20, MEMORY=16384)
    page.create("nature-s3", name="greenhouse", lease="3600", location="40.4168, -3.7038")
    page.create(name="ferry", location="-33.8568, 151.2153")
    page.until(lambda: len(page.all("#runtimes .status.good")) == 2)
    sandbox.store.put_vm(sandbox.store.live_vms()[-1].id, "POWEROFF")
    page.until_text("#runtimes", "owered off")
    page.create(name="picky", requirements="FREE_CPU > 100000")
    page.until_text("#runtimes", "o host")


@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
def test_no_view_has_a_violation(page: Page, sandbox: Sandbox, is_dark: bool) -> None:
    check(page, "login", is_dark)
    page.log_in(password="wrong")
    page.until_text("#login-error", "does not know")
    check(page, "refused login", is_dark)
    page.enter()
    check(page, "empty list", is_dark)
    fill(page, sandbox)
    check(page, "list with toasts", is_dark)
    page.click('[aria-label="Select ferry"]')
    check(page, "selection", is_dark)
    page.click('[aria-label="Actions for greenhouse"]')
    check(page, "menu", is_dark)
    page.type_keys(ESCAPE)
    for action in ("Resize…", "Renew lease…", "Edit…", "Delete…"):
        page.act("greenhouse", action)
        page.until(lambda: page.all("dialog[open]"))
        check(page, action, is_dark)
        page.type_keys(ESCAPE)
        page.until(lambda: not page.all("dialog[open]"))
    page.fill_in("nature-s3", location="here")
    page.until_text("#check", "Can be created")
    check(page, "create", is_dark)
    page.write('dialog [name="FAAS.CPU"]', "2000000")
    page.until_text("dialog .field .error", "2000000")
    page.type_keys(ESCAPE)
    check(page, "create with an error", is_dark)
    page.press("Discard")
    for name in ("greenhouse", "ferry", "picky"):
        page.go("#/")
        page.click(f'#runtimes a[title="{name}"]')
        page.until_text("h1", name)
        page.until(lambda: page.all(".events li"))
        check(page, name, is_dark)
    for view, text in (("map", "Map"), ("flavours", "Flavours"), ("runtimes/4711", "4711")):
        page.go(f"#/{view}")
        page.until_text("main", text)
        check(page, view, is_dark)
    sandbox.faults.set("oned", "refuse")
    page.go("#/")
    page.until_text("#banner", "reach")
    check(page, "backend down", is_dark)


def test_everything_works_with_the_keyboard(page: Page, sandbox: Sandbox) -> None:
    page.until(lambda: page.focused.get_attribute("name") == "username")
    page.type_keys("devuser", TAB, "devpass", ENTER)
    page.until(lambda: page.focused.tag_name == "h1")
    assert page.focused.value_of_css_property("outline-style") == "none"
    page.type_keys(TAB)
    assert page.focused.get_attribute("id") == "new"
    page.type_keys(ENTER)
    page.until(lambda: page.all("dialog[open] [name=flavour]"))
    page.type_keys(ESCAPE)
    page.until(lambda: not page.all("dialog[open]"))
    assert page.focused.get_attribute("id") == "new"
    assert sandbox.store.count()["runtimes"] == 0


def test_a_menu_obeys_the_arrows_and_gives_the_focus_back(home: Page) -> None:
    home.create(name="one")
    home.until_text("#runtimes", "Running")
    home.click('[aria-label="Actions for one"]')
    home.until(lambda: home.focused.text == "Open")
    home.type_keys(DOWN)
    assert home.focused.text == "Resize…"
    home.type_keys(END)
    assert home.focused.text == "Delete…"
    home.type_keys(ENTER)
    home.until_text("dialog[open]", "Delete one?")
    home.type_keys(ESCAPE)
    home.until(lambda: not home.all("dialog[open]"))
    assert home.focused.get_attribute("aria-label") == "Actions for one"


@pytest.mark.parametrize(("size", "display"), [(DESKTOP, "table-row"), (PHONE, "grid")])
def test_rows_are_cards_on_a_phone_and_stay_a_table_for_screen_readers(
    page: Page, size: tuple[int, int], display: str
) -> None:
    page.show_on(size)
    page.enter()
    page.create(name="one")
    row = page.until(lambda: page.find("#runtimes tbody tr"))
    assert row.value_of_css_property("display") == display
    nodes = page.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    roles = [node["role"]["value"] for node in nodes if not node.get("ignored")]
    assert {"table", "row", "cell", "columnheader"} <= set(roles)


def test_a_tablet_shows_all_actions(page: Page) -> None:
    page.show_on(TABLET)
    page.enter()
    page.create("nature-s3", name="both", lease="3600")
    button = page.until(lambda: page.find('[aria-label="Actions for both"]'))
    box = button.rect
    assert box["x"] + box["width"] <= TABLET[0]
    page.act("both", "Delete…")
    page.until_text("dialog[open]", "Delete both?")


def test_the_theme_can_be_chosen_and_holds_for_the_api_documents_too(page: Page) -> None:
    def is_dark() -> bool:
        colour: str = page.run("return getComputedStyle(document.body).backgroundColor")
        return colour == "rgb(11, 12, 14)"

    assert not is_dark()
    page.click('[aria-label="Theme: system"]')
    page.click('[aria-label="Theme: light"]')
    page.until(lambda: page.all('[aria-label="Theme: dark"]'))
    assert is_dark()
    page.press("API", "a")
    page.until_text("#api", "Create a serverless runtime")
    assert is_dark()
    assert page.all("html.dark-mode")
