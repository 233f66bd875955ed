"""The documentation says what is so: commands run, answers are real, nothing is left out."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from provision_engine.engine import states
from provision_engine.server.refusals import REFUSALS

from . import messages
from .pages import PAGES, ROOT, Site, answers, blocks, comparable, rewritten

OWN_RULES = ("reliability.md", "performance.md", "lifetime.md", "upgrade.md")
"""Pages that tell by themselves how their commands were tried."""


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def generator() -> ModuleType:
    specification = importlib.util.spec_from_file_location("generate", ROOT / "docs/generate.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def run_pages() -> list[Path]:
    return [p for p in PAGES if any(b.is_run for b in blocks(p.read_text(encoding="utf-8")))]


@pytest.mark.parametrize("path", run_pages(), ids=name)
def test_commands_of_a_page_run_and_answer_as_it_says(path: Path, site: Site) -> None:
    for block, answer in answers(path.read_text(encoding="utf-8"), site):
        assert comparable(block.text) == comparable(answer), f"python tests/docs/pages.py {path}"


@pytest.mark.parametrize("path", [p for p in PAGES if p.name not in OWN_RULES], ids=name)
def test_each_command_was_tried(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for block in filter(lambda block: block.is_shell, blocks(text)):
        assert block.words in (("sh", "run"), ("sh", "hand")), f"run or hand? {block.text}"
        if block.words == ("sh", "hand"):
            before = " ".join(text[: block.start].split())
            after = " ".join(text[block.end :].split())
            assert "run by hand" in before + after, f"{name(path)} does not say how it was tried"


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (path.parent / target).exists(), f"{name(path)} links to {target}"


def test_what_is_generated_is_up_to_date() -> None:
    generate = generator()
    configuration = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert configuration == generate.configuration(), "run: python docs/generate.py"
    assert readme == generate.readme(readme), "run: python docs/generate.py"


def test_each_key_of_the_configuration_is_explained() -> None:
    generate = generator()
    keys = dict(generate.leaves(generate.SCHEMA))
    page = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    assert len(keys) > 20
    for key, rules in keys.items():
        assert rules.get("description"), f"the schema does not say what {key} is"
        assert f"| `{key}` |" in page


def test_each_module_has_its_responsibility_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| `([\w/]+\.py)` \| \S", readme, re.MULTILINE))
    package = ROOT / "provision_engine"
    modules = {str(p.relative_to(package)) for p in package.rglob("*.py")}
    assert listed == {path for path in modules if not path.endswith("__init__.py")}


@pytest.mark.parametrize("title", messages.titles())
def test_each_error_title_has_its_chapter(title: str) -> None:
    page = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    assert re.search(rf"^### \d\d\d `{re.escape(title)}`$", page, re.MULTILINE)


def explained() -> list[str]:
    """The texts between backquotes of the page for troubleshooting."""
    return re.findall(r"`([^`\n]+)`", (ROOT / "docs/troubleshooting.md").read_text("utf-8"))


@pytest.mark.parametrize(("message", "source"), messages.messages().items())
def test_each_message_is_explained(message: str, source: str) -> None:
    pattern = re.compile(".+".join(map(re.escape, message.split("…"))))
    assert any(pattern.fullmatch(text) for text in explained()), (
        f"docs/troubleshooting.md says nothing of {message!r} in {source}"
    )


def test_each_refusal_outside_of_the_api_is_explained() -> None:
    page = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    patterns = [re.compile(".+".join(map(re.escape, text.split("…")))) for text in explained()]
    assert len(REFUSALS) > 10
    for status, text in REFUSALS.values():
        assert f"`{status.phrase}`" in page
        assert any(pattern.fullmatch(text) for pattern in patterns), text


def reason(state: int, lcm_state: int) -> str:
    vm: Any = SimpleNamespace(
        state=state,
        lcm_state=lcm_state,
        sched_message="",
        error="",
        must_report_ready=True,
        is_ready=False,
    )
    return states.of_vm(vm).reason


def test_each_reason_is_explained() -> None:
    reasons = {reason(state, 0) for state in range(12)}
    reasons |= {reason(states.ACTIVE, lcm_state) for lcm_state in range(80)}
    patterns = [re.compile(".+".join(map(re.escape, text.split("…")))) for text in explained()]
    missing = [r for r in reasons if r and not any(p.fullmatch(r) for p in patterns)]
    assert len(reasons) > 30
    assert missing == []


def test_answers_can_be_written_anew(site: Site) -> None:
    page = "```sh run\necho '{\"a\": 1}'\n```\n\n```json answer\nold\n```\n"
    assert rewritten(page, site) == page.replace("old\n", '{\n  "a": 1\n}\n')
