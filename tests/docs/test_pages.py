"""The documentation is correct and complete: commands run, responses are real."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from provision_engine import errors
from provision_engine.cli.program import NAME, program
from provision_engine.cloud.enums import ServiceState, VmState
from provision_engine.cloud.objects import Service
from provision_engine.engine.runtime import scheduling, states
from provision_engine.engine.runtime.states import MESSAGES, Condition, Reason
from provision_engine.server.refusals import REFUSALS

from . import messages
from .pages import PAGES, ROOT, Site, answers, blocks, comparable, rewritten

OWN_RULES = ("reliability.md", "performance.md", "lifetime.md", "upgrade.md")
"""Pages that say themselves how their commands were tested."""


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
def test_the_commands_of_a_page_print_what_it_shows(path: Path, site: Site) -> None:
    for block, answer in answers(path.read_text(encoding="utf-8"), site):
        assert comparable(block.text) == comparable(answer), f"python tests/docs/pages.py {path}"


@pytest.mark.parametrize("path", [p for p in PAGES if p.name not in OWN_RULES], ids=name)
def test_each_command_is_executed(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for block in filter(lambda block: block.is_shell, blocks(text)):
        assert block.words in (("sh", "run"), ("sh", "hand")), f"run or hand? {block.text}"
        if block.words == ("sh", "hand"):
            before = " ".join(text[: block.start].split())
            after = " ".join(text[block.end :].split())
            assert "run by hand" in before + after, f"{name(path)} does not say how it was tried"


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_links_have_a_target(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (path.parent / target).exists(), f"{name(path)} links to {target}"


def test_generated_parts_are_up_to_date() -> None:
    generate = generator()
    configuration = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    architecture = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    assert configuration == generate.configuration(), "run: python docs/generate.py"
    assert architecture == generate.architecture(architecture), "run: python docs/generate.py"


def test_each_key_of_the_configuration_is_explained() -> None:
    generate = generator()
    keys = dict(generate.leaves(generate.SCHEMA))
    page = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    assert len(keys) > 20
    for key, rules in keys.items():
        assert rules.get("description"), f"the schema does not say what {key} is"
        assert f"| `{key}` |" in page


def test_each_module_has_its_responsibility_in_the_architecture() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    table = page.partition("<!-- modules -->")[2].partition("<!-- end of modules -->")[0]
    listed = re.findall(r"^\| `([\w/]+\.py)` \| \S", table, re.MULTILINE)
    package = ROOT / "provision_engine"
    modules = {str(p.relative_to(package)) for p in package.rglob("*.py")}
    assert sorted(listed) == sorted(p for p in modules if not p.endswith("__init__.py"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_file_that_a_page_names_exists(page: Path) -> None:
    named = re.findall(r"`([a-z_.]+/[a-z_/]+\.[a-z]+)(?:: [\w.]+)?`", page.read_text("utf-8"))
    roots = (ROOT, ROOT / "provision_engine", ROOT / "docs", ROOT / "provision_engine/ui")
    assert [path for path in named if not any((root / path).exists() for root in roots)] == []


def test_the_page_for_the_night_names_commands_that_exist_and_every_alert() -> None:
    page = (ROOT / "docs/night.md").read_text(encoding="utf-8")
    assert page.count("\n") < 120
    named = {
        tuple(text.split()[1:]) for text in quoted(page) if text.startswith("provision-engine ")
    }
    assert len(named) > 8
    for command, *arguments in named:
        printed = CliRunner().invoke(program, [command, "--help"]).output
        options = [a for a in arguments if a.startswith("-")]
        assert printed.startswith(f"Usage: {NAME} {command}"), command
        assert [o for o in options if not re.search(rf"(?<!\S){o}\b", printed)] == [], command
    alerts = re.findall(r"alert: (\w+)", (ROOT / "etc/prometheus-rules.yml").read_text("utf-8"))
    assert len(alerts) > 5
    assert [alert for alert in alerts if alert not in page] == []


def troubleshooting() -> str:
    return (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")


def pattern(text: str) -> re.Pattern[str]:
    """A pattern for a text in which … is a placeholder."""
    return re.compile(".+".join(map(re.escape, text.split("…"))))


def quoted(text: str) -> list[str]:
    """The texts in backquotes."""
    return re.findall(r"`([^`\n]+)`", text)


def test_the_chapters_are_the_titles_of_the_errors() -> None:
    classes = [c for c in vars(errors).values() if isinstance(c, type)]
    known = {
        (str(c.status), c.error)
        for c in classes
        if issubclass(c, errors.EngineError) and c is not errors.BackendDown
    }
    page = troubleshooting()
    chapters = re.findall(r"^### (\d\d\d) `([^`]+)`$", page, re.MULTILINE)
    assert sorted(chapters) == sorted(known)


@pytest.mark.parametrize(("message", "source"), messages.messages().items())
def test_each_message_is_explained(message: str, source: str) -> None:
    assert any(messages.pattern(message).fullmatch(text) for text in quoted(troubleshooting())), (
        f"docs/troubleshooting.md says nothing of {message!r} in {source}"
    )


OTHERS = re.compile(
    r"\[one\..*|limit of … reached for … quota|Role … : Instantiate failed .*|Role … failed"
    r"|… Not authorized to perform USE …|Cannot resize a VM in state …"
)
"""What OpenNebula says itself, and the engine passes on."""
COMPOSED = {
    *(
        "GET /…: Not Found",
        "POST …/resume lets it run again",
        "repeat with ?replace=true if it may",
    ),
    *(
        "unknown argument '…'",
        "FAAS is PENDING",
        "FAAS is UPDATING",
        '{"FAAS": …, "RECOVERY": …}',
        "oned: …",
    ),
}
"""What no single text in the sources contains."""


def test_each_explained_message_is_one_that_the_program_sends() -> None:
    tables = re.findall(
        r"^\| (?:message|reason) \|.*\n\| --- .*\n((?:\|.*\n)+)", troubleshooting(), re.MULTILINE
    )
    cells = [row.split(" | ")[0] for table in tables for row in table.splitlines()]
    told = [text for cell in cells for text in quoted(cell)]
    assert len(told) > 150
    known = messages.every_text()
    unknown = [text for text in told if not any(one.search(text) for one in known)]
    assert [t for t in unknown if t not in COMPOSED and not OTHERS.fullmatch(t)] == []


def test_each_refusal_outside_of_the_api_is_explained() -> None:
    page = troubleshooting()
    assert len(REFUSALS) > 10
    for status, text in REFUSALS.values():
        assert f"`{status.phrase}`" in page
        assert any(pattern(known).fullmatch(text) for known in quoted(page)), text


@pytest.mark.parametrize(
    "text", ["a;b", "(a,b)", '"a', "1a", "a b", '"/"', "(" * 60 + "a", "a +", "a & b > 1", "a !> 1"]
)
def test_each_error_of_an_expression_is_explained(text: str) -> None:
    for check in (scheduling.rank, scheduling.requirements):
        with pytest.raises(scheduling.InvalidExpression) as raised:
            check(text)
        known = quoted(troubleshooting())
        assert any(pattern(one).fullmatch(raised.value.reason) for one in known)


# ---- REASON and REASON_CODE -------------------------------------------------------------------


def codes() -> dict[str, tuple[str, list[str]]]:
    """The table of codes: STATE and texts by code."""
    rows = re.findall(
        r"^\| `([A-Z_]+)` \| ([A-Z, ]+) \| ([^|]*) \| [^|]+ \|$", troubleshooting(), re.MULTILINE
    )
    assert len(rows) == len({code for code, _, _ in rows})
    return {code: (state, quoted(texts)) for code, state, texts in rows}


def of_vm(state: int, lcm_state: int) -> Condition:
    vm: Any = SimpleNamespace(
        state=state,
        lcm_state=lcm_state,
        sched_message="",
        error="",
        must_report_ready=True,
        is_ready=False,
    )
    return states.from_vm(vm)


def every_condition() -> list[Condition]:
    """Of VMs in each state, and of functions without one."""
    found = [of_vm(state, 0) for state in range(12)]
    found += [of_vm(VmState.ACTIVE, lcm_state) for lcm_state in range(80)]
    services = [Service(1, "name", 2, state) for state in (-1, *ServiceState)]
    found += [states.from_service(service) for service in (None, *services)]
    return [*found, states.from_service(services[0], had_vm=True)]


def test_the_table_has_each_reason_code() -> None:
    assert sorted(codes()) == sorted(Reason)


@pytest.mark.parametrize("condition", every_condition(), ids=str)
def test_each_condition_is_in_the_row_of_its_code(condition: Condition) -> None:
    if condition.reason is None:
        assert condition == Condition(states.State.RUNNING)
        return
    state, texts = codes()[condition.reason]
    assert str(condition.state) in state.split(", ")
    assert not condition.text or any(pattern(text).fullmatch(condition.text) for text in texts)


def test_each_reason_is_explained() -> None:
    own = messages.conditions()
    explained = {re.sub(r"{\w+}", "…", words) for _, words, _ in MESSAGES}
    known = quoted(troubleshooting())
    missing = [
        text for text in own | explained if not any(pattern(text).fullmatch(k) for k in known)
    ]
    assert len(own) > 10
    assert len(explained) > 5
    assert missing == []


def test_outputs_can_be_updated(site: Site) -> None:
    page = "```sh run\necho '{\"a\": 1}'\n```\n\n```json answer\nold\n```\n"
    assert rewritten(page, site) == page.replace("old\n", '{\n  "a": 1\n}\n')
