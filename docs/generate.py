#!/usr/bin/env python3
"""Writes what the documentation takes from the sources: `python docs/generate.py`.

configuration.md comes from schemas/config.json, and the table of modules in architecture.md from
the first line of each module. A test tells when this has to be run again.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "provision_engine"
SCHEMA = json.loads((PACKAGE / "schemas/config.json").read_text(encoding="utf-8"))

Rules = dict[str, Any]

CONFIGURATION_HEAD = """\
# Configuration

*Generated from `provision_engine/schemas/config.json` by `docs/generate.py`; change it there.*

The engine reads `/etc/provision-engine/engine.conf`, or the file that `--config` or the
environment variable `PROVISION_ENGINE_CONF` names. It is YAML. Every key is optional. A key may be
written plainly (`port:`) or as in older files (`:port:`). Keys that a section leaves out have their
defaults.

With a wrong value, an unknown key or a file that is not YAML the engine does not start. It says why
for each mistake, in one line that names the key, the value and what is allowed;
[troubleshooting.md](troubleshooting.md) lists these lines. `GET /server/config` returns the
keys that the file sets, and those of the first engine; `GET /server/config?all=true` returns all
keys with the values in force. Neither needs a login, nor shows paths (`log.directory`,
`server.pid_file`, `tls.*`).

`etc/engine.conf` in the source is a template: it has every key with its default, and a comment on
each.

`provision-engine restart` applies a change. A signal HUP to the engine, or
`systemctl reload provision-engine`, does so without closing the port; `host`, `port` and
`server.pid_file` take a restart. A file that is not valid changes nothing in a running engine, and
the reason is in engine.log.
"""

CONFIGURATION_EXAMPLE = """\
## Example

```yaml
one_xmlrpc: http://localhost:2633/RPC2
oneflow_server: http://localhost:2474
host: 0.0.0.0
port: 1337
timeout: 30
mapping:
  nature: 5        # the flavour nature is the flow template with id 5
  nature-s3: 6     # a function nature with data s3
capacity:
  memory:
    default: 512
log:
  level: 1
tls:
  certificate: /etc/provision-engine/certificate.pem
  key: /etc/provision-engine/key.pem
```
"""

SECTIONS = {
    "": "OpenNebula, address and time",
    "capacity": "Sizes of functions",
    "log": "Logs",
    "context": "Context of a VM",
    "ready": "When a function is RUNNING",
    "server": "Processes and threads",
    "limits": "Limits",
    "cache": "Cache",
    "lease": "Leases",
    "wait": "Waiting requests",
    "standby": "Standby runtimes",
    "lock": "Locks",
    "tls": "TLS",
}
KINDS = {
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "object": "a mapping",
    "string": "a string",
}


def configuration() -> str:
    """The page of the configuration."""
    by_section: dict[str, list[str]] = {}
    for name, rules in leaves(SCHEMA):
        section = name.partition(".")[0] if "." in name else ""
        by_section.setdefault(section, []).append(_row(name, rules))
    parts = [CONFIGURATION_HEAD]
    for section, rows in by_section.items():
        title = SECTIONS.get(section, section.capitalize())
        head = "| key | meaning | allowed | default |\n| --- | --- | --- | --- |"
        parts.append("\n".join([f"## {title}\n", head, *rows]) + "\n")
    return "\n".join([*parts, CONFIGURATION_EXAMPLE])


def leaves(rules: Rules, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Rules]]:
    """Each key that holds a value, with its dotted name and what the schema says of it."""
    for part in rules.get("allOf", ()):
        rules = {**SCHEMA["definitions"][part["$ref"].rsplit("/", 1)[-1]], **rules}
    if "properties" not in rules:
        yield ".".join(path), rules
    for key, below in rules.get("properties", {}).items():
        yield from leaves(below, (*path, key))


def _row(name: str, rules: Rules) -> str:
    meaning = rules.get("description", "")
    default = rules.get("default")
    shown = "" if default is None or default == {} else f"`{_text(default)}`"
    return f"| `{name}` | {meaning} | {_allowed(rules)} | {shown} |"


def _allowed(rules: Rules) -> str:
    if "enum" in rules:
        return " or ".join(f"`{value}`" for value in rules["enum"])
    if "title" in rules:
        return str(rules["title"])
    kinds = rules["type"] if isinstance(rules["type"], list) else [rules["type"]]
    kind = KINDS[kinds[0]]
    if isinstance(rules.get("additionalProperties"), dict):
        below = rules["additionalProperties"]
        return f"{kind}, each of them {_allowed(below)}"
    if "minimum" in rules:
        return f"{kind} from {rules['minimum']} to {rules['maximum']}"
    return kind


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def modules() -> str:
    """The table file → responsibility, from the first line of each module."""
    rows = ["| file | responsibility |", "| --- | --- |"]
    # The modules of the package itself first, then one package after the other.
    for path in sorted(PACKAGE.rglob("*.py"), key=lambda p: (p.parent != PACKAGE, p)):
        if path.name != "__init__.py":
            rows.append(f"| `{path.relative_to(PACKAGE)}` | {responsibility(path)} |")
    return "\n".join(rows)


def responsibility(path: Path) -> str:
    """The first line of a module's docstring. ValueError where it has none."""
    described = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    if not described:
        raise ValueError(f"{path.relative_to(ROOT)} does not say what it is for")
    return described.splitlines()[0].replace("``", "`").replace("|", "\\|")


def architecture(text: str) -> str:
    """architecture.md with the table of modules as it is now."""
    table = f"<!-- modules -->\n{modules()}\n<!-- end of modules -->"
    pattern = re.compile(r"<!-- modules -->.*<!-- end of modules -->", re.DOTALL)
    if len(pattern.findall(text)) != 1:
        raise ValueError("docs/architecture.md has no markers for the table of modules")
    return pattern.sub(lambda _: table, text)


def main() -> int:
    (ROOT / "docs/configuration.md").write_text(configuration(), encoding="utf-8")
    page = ROOT / "docs/architecture.md"
    page.write_text(architecture(page.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
