"""Saves the state of a sandbox to a file and loads it again.

The file is a pickle. Only classes of the sandbox are loaded from it, so that a malicious file
cannot run code.
"""

from __future__ import annotations

import enum
import io
import os
import pickle
from pathlib import Path
from typing import Any

from provision_engine.sandbox.world import World

_MEMBERS = (
    "users", "users_by_name", "groups", "rules", "documents", "vm_templates", "vms", "live_vms",
    "hosts", "addresses", "last_address", "lowest_free_address", "next_scheduled_id",
    "next_request_id",
)  # fmt: skip
_MODULES = ("provision_engine.sandbox.objects", "provision_engine.sandbox.pools",
            "provision_engine.sandbox.permissions", "provision_engine.sandbox.quotas",
            "provision_engine.sandbox.template", "provision_engine.sandbox.clock",
            "provision_engine.sandbox.states")  # fmt: skip


class _Pickler(pickle.Pickler):
    """Pickles enumeration members by value; Python 3.11.2 would use getattr."""

    def reducer_override(self, obj: object) -> Any:
        return (type(obj), (obj.value,)) if isinstance(obj, enum.Enum) else NotImplemented


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        if module in _MODULES and "." not in name:
            return super().find_class(module, name)
        if (module, name) == ("builtins", "set"):
            return set
        raise pickle.UnpicklingError(f"{module}.{name} does not belong in a sandbox's state")


def save(world: World, path: Path) -> None:
    """Writes the state of a world atomically. OSError if that is not possible."""
    with world.moment():
        members = {name: getattr(world.store, name) for name in _MEMBERS}
        whole = {
            "release": world.store.release.version,
            "store": members,
            "agenda": world.store.agenda.entries(),
            "waiting": world.scheduler.waiting(),
        }
        temporary = path.with_name(path.name + ".new")
        content = io.BytesIO()
        _Pickler(content).dump(whole)
        temporary.write_bytes(content.getvalue())
        os.replace(temporary, path)


def load(world: World, path: Path) -> None:
    """Loads the state of a world. ValueError if the file holds no state of this release."""
    try:
        with path.open("rb") as file:
            whole = _Unpickler(file).load()
        version, members = whole["release"], whole["store"]
    except (pickle.UnpicklingError, EOFError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"state: {path} is not a sandbox's state ({error})") from None
    if version != world.store.release.version:
        raise ValueError(
            f"state: {path} is of release {version}, not of {world.store.release.version}"
        )
    for name in _MEMBERS:
        setattr(world.store, name, members[name])
    world.store.agenda.replace(whole["agenda"])
    world.scheduler.wait_again(whole["waiting"])
