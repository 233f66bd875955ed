"""The XML-RPC methods of documents and VM templates."""

from __future__ import annotations

from provision_engine.sandbox import names
from provision_engine.sandbox.calls import Call, Value, authorized, parsed, pool_of, updated
from provision_engine.sandbox.machines import extended
from provision_engine.sandbox.store import MANAGE, USE, Document, VmTemplate

# ---- documents -----------------------------------------------------------------------------------


def document_allocate(call: Call) -> Value:
    body = parsed(call, 0)
    name = body.text("NAME")
    if name:
        names.check_new_name(name)
    return call.world.store.new_document(call.user, call.integer(1), name, body).id


def document_info(call: Call) -> Value:
    item = authorized(call, Document, USE, check_lock=False)
    assert isinstance(item, Document)
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
    item = authorized(call, Document, USE)
    assert isinstance(item, Document)
    names.check_new_name(call.text(1))
    made = call.world.store.new_document(call.user, item.type, call.text(1), item.template.copy())
    return made.id


def documentpool_info(call: Call) -> Value:
    filter_flag, start, end, kind = (call.integer(i) for i in range(4))
    found = call.world.store.documents.select(call.user, filter_flag, start, end, kind)
    return f"<DOCUMENT_POOL>{''.join([d.to_xml() for d in found])}</DOCUMENT_POOL>"


# ---- VM templates --------------------------------------------------------------------------------


def template_allocate(call: Call) -> Value:
    body = parsed(call, 0)
    name = body.text("NAME")
    if name:
        names.check_new_name(name)
    body.remove("NAME")
    cloud = call.world.store
    number = cloud.vm_templates.new_id()
    user = call.user
    made = VmTemplate(
        number, user.id, user.gid, user.name, user.group_name, name or f"template-{number}",
        template=body, registration_time=cloud.agenda.seconds(),
    )  # fmt: skip
    cloud.vm_templates.add(made)
    return number


def template_info(call: Call) -> Value:
    item = authorized(call, VmTemplate, USE, check_lock=False)
    assert isinstance(item, VmTemplate)
    full = extended(call.world.store, item.template) if call.flag(1) else None
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
    item = authorized(call, VmTemplate, USE)
    assert isinstance(item, VmTemplate)
    extra = parsed(call, 3)
    return call.world.machines.create(call.user, item, extra, call.text(1), call.flag(2)).id


def templatepool_info(call: Call) -> Value:
    found = call.world.store.vm_templates.select(call.user, *(call.integer(i) for i in range(3)))
    return f"<VMTEMPLATE_POOL>{''.join([t.to_xml() for t in found])}</VMTEMPLATE_POOL>"
