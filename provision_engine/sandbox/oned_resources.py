"""The XML-RPC methods of what VMs are made of: networks, images and VM groups.

Only an administrator creates them here, as few of their attributes matter to a VM.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from provision_engine.sandbox.calls import Call, Value, authorized, parsed, pool_of
from provision_engine.sandbox.store import MANAGE, Image, Network, Owned, VmGroup
from provision_engine.sandbox.template import Template

FILES_DATASTORE = 2


def network_allocate(call: Call) -> Value:
    body = parsed(call, 0)
    ranges = body.vectors("AR")
    prefix = ranges[0].get("GLOBAL_PREFIX", "") if ranges else ""
    grows = call.world.store.release.addresses_only_grow
    return _allocated(call, Network, body, prefix6=prefix, only_grows=grows)


def image_allocate(call: Call) -> Value:
    return _allocated(call, Image, parsed(call, 0), is_file=call.integer(1) == FILES_DATASTORE)


def vm_group_allocate(call: Call) -> Value:
    return _allocated(call, VmGroup, parsed(call, 0))


def _allocated(call: Call, kind: type[Owned], body: Template, **further: Any) -> int:
    pool, user = pool_of(call, kind), call.user
    call.authorization().needs_creation(kind.kind).check()
    item = kind(
        pool.new_id(), user.id, user.gid, user.name, user.gname, body.text("NAME") or "",
        user.default_permissions(), template=body, **further,
    )  # fmt: skip
    return pool.add(item).id


def delete(kind: type[Owned]) -> Callable[[Call], Value]:
    def do(call: Call) -> Value:
        item = authorized(call, kind, MANAGE)
        pool_of(call, kind).remove(item)
        return item.id

    return do
