"""The XML-RPC methods of documents and VM templates."""

from __future__ import annotations

from provision_engine.sandbox import errors, names
from provision_engine.sandbox.calls import (
    Call,
    Value,
    authorized,
    check_unique,
    parsed,
    pool_of,
    updated,
)
from provision_engine.sandbox.errors import OneError
from provision_engine.sandbox.machines import check_restricted
from provision_engine.sandbox.store import MANAGE, USE, Document, VmTemplate
from provision_engine.sandbox.template import Template

# ---- documents -----------------------------------------------------------------------------------


def document_allocate(call: Call) -> Value:
    body = parsed(call, 0)
    call.authorization().needs_creation("DOCUMENT").check()
    name = body.text("NAME")
    if name:
        names.check_new_name(name)
    return call.world.store.new_document(call.user, call.integer(1), name, body).id


def document_info(call: Call) -> Value:
    item: Document = authorized(call, Document, USE, check_lock=False)
    return item.to_xml()


def document_update(call: Call) -> Value:
    item = authorized(call, Document, MANAGE)
    item.template = updated(item.template, call)
    item.changed()
    return item.id


def document_delete(call: Call) -> Value:
    item = authorized(call, Document, MANAGE)
    pool_of(call, Document).remove(item)
    return item.id


def document_clone(call: Call) -> Value:
    store = call.world.store
    item = store.documents.get(call.integer(0))
    call.authorization().needs_clone(item, store.release.clone_needs_use).check()
    names.check_new_name(call.text(1))
    return store.new_document(call.user, item.type, call.text(1), item.template.copy()).id


def documentpool_info(call: Call) -> Value:
    filter_flag, start, end, kind = (call.integer(i) for i in range(4))
    found = call.world.store.documents.select(call.user, filter_flag, start, end, kind)
    return f"<DOCUMENT_POOL>{''.join([d.to_xml() for d in found])}</DOCUMENT_POOL>"


# ---- VM templates --------------------------------------------------------------------------------


def template_allocate(call: Call) -> Value:
    body = parsed(call, 0)
    check_restricted(call.world.store.release, call.user, body)
    call.authorization().needs_creation("TEMPLATE").check()
    return _new_template(call, body.text("NAME") or "", body)


def _new_template(call: Call, name: str, body: Template) -> int:
    store, user = call.world.store, call.user
    names.check_name(name, errors.INTERNAL)
    check_unique(call, VmTemplate, name)
    body.remove("NAME")
    made = VmTemplate(
        store.vm_templates.new_id(), user.id, user.gid, user.name, user.gname, name,
        user.default_permissions(), template=body, registration_time=store.agenda.seconds(),
    )  # fmt: skip
    return store.vm_templates.add(made).id


def template_clone(call: Call) -> Value:
    store = call.world.store
    item = store.vm_templates.get(call.integer(0))
    call.authorization().needs_clone(item, store.release.clone_needs_use).check()
    try:
        return _new_template(call, call.text(1), item.template.copy())
    except OneError as error:
        if not store.release.clone_fails_to_allocate:
            raise
        text = f"Error allocating a new virtual machine template. {error.message}"
        raise OneError(errors.ALLOCATE, text) from None


def template_info(call: Call) -> Value:
    item: VmTemplate = authorized(call, VmTemplate, USE, check_lock=False)
    full = call.world.machines.devices.extended(item.template) if call.flag(1) else None
    return item.to_xml(full)


def template_update(call: Call) -> Value:
    item = authorized(call, VmTemplate, MANAGE)
    item.template = updated(item.template, call)
    return item.id


def template_delete(call: Call) -> Value:
    item = authorized(call, VmTemplate, MANAGE)
    pool_of(call, VmTemplate).remove(item)
    return item.id


def template_instantiate(call: Call) -> Value:
    item = call.world.store.vm_templates.get(call.integer(0))
    extra = parsed(call, 3)
    rights = call.authorization().needs(USE, item)
    if extra.items:
        rights.needs_creation("TEMPLATE")
    rights.check()
    return call.world.machines.create(call.user, item, extra, call.text(1), call.flag(2)).id


def templatepool_info(call: Call) -> Value:
    found = call.world.store.vm_templates.select(call.user, *(call.integer(i) for i in range(3)))
    return f"<VMTEMPLATE_POOL>{''.join([t.to_xml() for t in found])}</VMTEMPLATE_POOL>"
