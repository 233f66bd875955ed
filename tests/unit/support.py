"""Shared by several tests: recorded responses, and hand-made objects of OpenNebula."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from provision_engine import config
from provision_engine.cloud.objects import Document, Service, Vm, parse
from provision_engine.engine.runtime.model import Function
from provision_engine.engine.runtime.sizes import SIZES

OWNER = 2
"""The user who owns the documents and VMs of the tests."""
RECORDED = Path(__file__).parent / "recorded"


def recorded(name: str) -> Any:
    return json.loads((RECORDED / f"{name}.json").read_text(encoding="utf-8"))


def configuration(text: str = "") -> config.Configuration:
    return config.parse(text, Path("engine.conf"))


def function(
    flavour: str, cpu: int, memory_mb: int, disk_size_mb: int, vm_id: int | None = None
) -> Function:
    return Function(flavour, dict(zip(SIZES, (cpu, memory_mb, disk_size_mb), strict=True)), vm_id)


def vm_xml(
    state: int = 3,
    lcm_state: int = 3,
    *,
    vm_id: int = 7,
    template: str = "<CPU>2</CPU><MEMORY>512</MEMORY>",
    user_template: str = "",
    started_at: int = 0,
) -> str:
    return (
        f"<VM><ID>{vm_id}</ID><UID>{OWNER}</UID><STATE>{state}</STATE><LCM_STATE>{lcm_state}</LCM_STATE>"
        f"<STIME>{started_at}</STIME>"
        f"<TEMPLATE>{template}</TEMPLATE><USER_TEMPLATE>{user_template}</USER_TEMPLATE></VM>"
    )


def vm(state: int = 3, lcm_state: int = 3, **parts: Any) -> Vm:
    return Vm.from_xml(parse(vm_xml(state, lcm_state, **parts)))


def document(body: Any, *, type_: int = 1337, name: str = "a name", id_: int = 9) -> Document:
    text = body if isinstance(body, str) else json.dumps(body)
    return Document(id_, name, type_, OWNER, text, None)


def service(body: Any, *, id_: int = 850) -> Service:
    return Service.from_document(document(body, type_=100, id_=id_))


def document_xml(body: Any, *, type_: int = 1337, name: str = "a name", id_: int = 9) -> str:
    text = body if isinstance(body, str) else json.dumps(body)
    return (
        f"<DOCUMENT><ID>{id_}</ID><UID>2</UID><NAME>{escape(name)}</NAME><TYPE>{type_}</TYPE>"
        f"<TEMPLATE><BODY><![CDATA[{text}]]></BODY></TEMPLATE></DOCUMENT>"
    )


def xmlrpc_answer(success: bool, value: str | int, code: int = 0) -> str:
    """oned's response to a call, as sent over the wire."""
    held = f"<i4>{value}</i4>" if isinstance(value, int) else f"<string>{escape(value)}</string>"
    rest = "" if success else "<value><i4>-1</i4></value><value><i4>-1</i4></value>"
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\r\n<methodResponse>\r\n<params>\r\n<param><value>'
        f"<array><data><value><boolean>{int(success)}</boolean></value><value>{held}</value>"
        f"<value><i4>{code}</i4></value>{rest}</data></array></value></param>\r\n</params>\r\n"
        "</methodResponse>\r\n"
    )


def xmlrpc_fault(code: int, text: str) -> str:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\r\n<methodResponse>\r\n<fault>\r\n<value><struct>'
        f"<member><name>faultCode</name>\r\n<value><i4>{code}</i4></value></member>\r\n"
        f"<member><name>faultString</name>\r\n<value><string>{escape(text)}</string></value>"
        "</member>\r\n</struct></value>\r\n</fault>\r\n</methodResponse>\r\n"
    )
