"""Every error message of the program, read from its sources."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.docs.pages import ROOT

PACKAGE = ROOT / "provision_engine"
ELSEWHERE = ("sandbox", "demo")
"""Separate programs, whose messages explain themselves."""
BASES = {
    "EngineError",
    "OperatorError",
    "ClientError",
    "UsageError",
    "BadParameter",
    "InvalidExpression",
    "engine_error",  # in cloud/errors.py, a class from a table
}
LEAST_LETTERS = 8
"""A shorter text only wraps another one."""
PLACE = r"(?:[^…]+|\S*…\S*|)"
"""For a placeholder, a page has an example or another placeholder, but no more words with one."""


def messages() -> dict[str, str]:
    """The texts, with … for placeholders, and the file of each."""
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in _sources()}
    known = _families(trees.values())
    found = {}
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and _name(node.func) in known and node.args:
                text = _text(node.args[0])
                if sum(letter.isalpha() for letter in text) >= LEAST_LETTERS:
                    found[text] = str(path.relative_to(ROOT))
    return found


def pattern(message: str) -> re.Pattern[str]:
    """A pattern for the texts of a page that stand for a message."""
    return re.compile(PLACE.join(map(re.escape, message.split("…"))))


def every_text() -> list[re.Pattern[str]]:
    """Patterns for all texts in the sources that are long enough to be told from others."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in _sources()]
    texts = {_text(node) for tree in trees for node in ast.walk(tree) if isinstance(node, ast.expr)}
    long = [text for text in texts if sum(map(str.isalpha, text)) >= LEAST_LETTERS]
    return [re.compile(".*".join(map(re.escape, text.split("…")))) for text in long]


def conditions() -> set[str]:
    """The engine's own texts of REASON, with … for placeholders."""
    found = set()
    for path in sorted((PACKAGE / "engine").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and _name(node.func) in ("Condition", "replace"):
                texts = [k.value for k in node.keywords if k.arg == "text"]
                texts += node.args[1:2] if _name(node.func) == "Condition" else []
                found |= {_text(text) for text in texts}
    return {text for text in found if text.strip("…: ")}


def _sources() -> Iterator[Path]:
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.relative_to(PACKAGE).parts[0] not in ELSEWHERE:
            yield path


def _families(trees: object) -> set[str]:
    """The names of all classes that descend from the bases of errors."""
    children: dict[str, set[str]] = {}
    for tree in trees:  # type: ignore[attr-defined]
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                for base in node.bases:
                    children.setdefault(_name(base), set()).add(node.name)
    family, new = set(BASES), set(BASES)
    while new:
        new = {child for parent in new for child in children.get(parent, ())} - family
        family |= new
    return family


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _text(node: ast.expr) -> str:
    """A string literal, with … for each placeholder; empty for anything else."""
    if isinstance(node, ast.Constant):
        return str(node.value) if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        parts = [str(p.value) if isinstance(p, ast.Constant) else "…" for p in node.values]
        return "".join(parts)
    return ""
