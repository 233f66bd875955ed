"""Reads engine.conf: YAML whose keys and values may be written as Ruby symbols (:port:)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from provision_engine.config.model import Document
from provision_engine.config.schema import ConfigurationError, shown
from provision_engine.text import one_line

_FILE_BYTES = 1_048_576
_MAPPING_DEPTH = 8
_SYMBOL = re.compile(r":[A-Za-z_][A-Za-z0-9_]*\Z")


def read_text(source: Path) -> str:
    """Return the content of a file. Raises ConfigurationError."""
    try:
        with source.open("rb") as file:
            content = file.read(_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigurationError(f"{shown(source)}: cannot be read: {reason}") from error
    if len(content) > _FILE_BYTES:
        raise ConfigurationError(f"{shown(source)}: is longer than {_FILE_BYTES} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(f"{shown(source)}: line {line}: is not UTF-8") from error


def read_document(text: str, source: Path) -> tuple[Document, list[str]]:
    """Return the document of a file, its keys without colons, and what is wrong with others.

    Raises ConfigurationError if there is no document to be read.
    """
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None or node.tag == "tag:yaml.org,2002:null":
            return {}, []
        if not isinstance(node, yaml.MappingNode):
            raise ConfigurationError(f"{shown(source)}: must be a mapping (key: value)")
        reader = _Reader(loader, source)
        return reader.mapping(node, ()), reader.problems
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{shown(source)}: is not YAML: {_yaml_reason(error)}") from error
    except RecursionError as error:
        raise ConfigurationError(f"{shown(source)}: is nested too deeply") from error
    except ValueError as error:
        # From YAML's own conversions: a date in month 13, a number of thousands of digits.
        raise ConfigurationError(f"{shown(source)}: has an invalid value: {error}") from error


def _yaml_reason(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    reason = getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be parsed"
    position = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return one_line(f"{position}{reason}")


class _Reader:
    """Makes values of YAML nodes, which still know their lines and repeated keys."""

    def __init__(self, loader: yaml.SafeLoader, source: Path) -> None:
        self._loader = loader
        self._source = source
        self.problems: list[str] = []

    def mapping(self, node: yaml.MappingNode, path: tuple[str, ...]) -> Document:
        if len(path) > _MAPPING_DEPTH:
            raise self._error(node, path, "is nested too deeply")
        values: Document = {}
        spelled: dict[str, str] = {}
        for key_node, value_node in node.value:
            try:
                key = self._key(key_node, path)
                spelling = f"{key_node.value}:"
                if key in spelled:
                    both = " and ".join(sorted({spelled[key], spelling}))
                    raise self._error(key_node, (*path, key), f"is given twice (as {both})")
                spelled[key] = spelling
                values[key] = self._value(value_node, (*path, key))
            except ConfigurationError as error:
                self.problems.append(str(error))
        return values

    def _key(self, node: yaml.Node, path: tuple[str, ...]) -> str:
        key = self._loader.construct_object(node, deep=True)
        if not isinstance(key, str):
            reason = f"is a key that YAML reads as {shown(key)}: put it in quotes"
            raise self._error(node, (*path, str(node.value)), reason)
        return key.removeprefix(":")

    def _value(self, node: yaml.Node, path: tuple[str, ...]) -> Any:
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path)
        if node.tag == "tag:yaml.org,2002:seq" and len(path) <= _MAPPING_DEPTH:
            return [self._value(item, (*path, str(n))) for n, item in enumerate(node.value)]
        value = self._loader.construct_object(node, deep=True)
        if not isinstance(value, str):
            return value
        if any(ord(character) < 32 or ord(character) == 127 for character in value):
            raise self._error(node, path, "contains a control character or a line break")
        return value[1:] if _SYMBOL.match(value) else value

    def _error(self, node: yaml.Node, path: tuple[str, ...], reason: str) -> ConfigurationError:
        line = f"{shown(self._source)}: line {node.start_mark.line + 1}"
        key = f"{'.'.join(path)} " if path else ""
        return ConfigurationError(f"{line}: {one_line(key)}{reason}")
