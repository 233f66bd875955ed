"""oned's client: what goes over the wire, and what each answer becomes."""

from __future__ import annotations

import re
import xmlrpc.client
from collections.abc import Callable
from typing import Any

import pytest

from provision_engine import errors
from provision_engine.cloud.objects import Document
from provision_engine.cloud.oned import Oned
from provision_engine.cloud.transport import Backend
from provision_engine.deadline import Deadline
from tests.unit.support import document_xml, recorded, vm_xml, xmlrpc_answer, xmlrpc_fault

from .conftest import CLOSE, CUT, HANG, Wire


@pytest.fixture
def oned(wire: Wire) -> Oned:
    return new_oned(wire)


def new_oned(wire: Wire, session: str = "devuser:pass:word", seconds: float = 10) -> Oned:
    return Oned(Backend("oned", f"{wire.url}/RPC2", 4), session, Deadline(seconds))


def answer(wire: Wire, text: str | bytes, status: int = 200) -> None:
    wire.answer(text, status, content_type="text/xml")


def called(wire: Wire, place: int = -1) -> tuple[str | None, tuple[Any, ...]]:
    assert (wire.calls[place].method, wire.calls[place].path) == ("POST", "/RPC2")
    params, method = xmlrpc.client.loads(wire.calls[place].body.decode())
    return method, params


CALLS: list[tuple[Callable[[Oned], object], str, tuple, str | int]] = [
    (lambda o: o.version(), "one.system.version", (), "7.4.0"),
    (lambda o: o.document(9), "one.document.info", (9, False), document_xml({})),
    (lambda o: o.vm_template(0), "one.template.info", (0, False, False), "<T><ID>0</ID></T>"),
    (lambda o: o.documents(101), "one.documentpool.info", (-2, -1, -1, 101), "<DOCUMENT_POOL/>"),
    (lambda o: o.vms([1, 23]), "one.vmpool.infoset", ("1,23", True), "<VM_POOL/>"),
    (lambda o: o.allocate_document("T", 1337), "one.document.allocate", ("T", 1337), 9),
    (lambda o: o.update_document(9, "T"), "one.document.update", (9, "T", 0), 9),
    (lambda o: o.rename_document(9, "n"), "one.document.rename", (9, "n"), 9),
    (lambda o: o.delete_document(9), "one.document.delete", (9,), 9),
    (lambda o: o.lock_document(9), "one.document.lock", (9, 3, True), 9),
    (lambda o: o.unlock_document(9), "one.document.unlock", (9,), 9),
    (lambda o: o.resize_vm(7, "CPU=1"), "one.vm.resize", (7, "CPU=1", True), 7),
    (lambda o: o.resize_disk(7, 0, 2048), "one.vm.diskresize", (7, 0, "2048"), 0),
    (lambda o: o.update_vm(7, "A=1"), "one.vm.update", (7, "A=1", 1), 7),
    (lambda o: o.act_on_vm(7, "suspend"), "one.vm.action", ("suspend", 7), 7),
    (lambda o: o.add_scheduled_action(7, "T"), "one.vm.schedadd", (7, "T"), 0),
    (lambda o: o.update_scheduled_action(7, 2, "T"), "one.vm.schedupdate", (7, 2, "T"), 2),
    (lambda o: o.delete_scheduled_action(7, 2), "one.vm.scheddelete", (7, 2), 2),
    (lambda o: o.vms([1]), "one.vm.info", (1, False), vm_xml()),
    (lambda o: o.documents(1337, -3), "one.documentpool.info", (-3, -1, -1, 1337), "<P/>"),
    (lambda o: o.documents(1, -3, first_id=5), "one.documentpool.info", (-3, 5, -1, 1), "<P/>"),
    (lambda o: o.documents(1, -3, last_id=9), "one.documentpool.info", (-3, 0, 9, 1), "<P/>"),
    (
        lambda o: o.documents(1, -3, first_id=5, last_id=9),
        "one.documentpool.info",
        (-3, 5, 9, 1),
        "<P/>",
    ),
    (lambda o: o.newest_documents(1, 5, -3), "one.documentpool.info", (-3, 0, -5, 1), "<P/>"),
    # A page of one would be taken for all.
    (lambda o: o.newest_documents(1, 1, -3), "one.documentpool.info", (-3, 0, -2, 1), "<P/>"),
    (lambda o: o.quota(), "one.user.info", (-1, False), "<USER/>"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "method", "params", "value"), CALLS, ids=[c[1] for c in CALLS])
def test_a_call_goes_out_as_recorded_with_the_callers_own_session(
    wire: Wire, oned: Oned, call: Callable, method: str, params: tuple, value: str | int
) -> None:
    answer(wire, xmlrpc_answer(True, value))
    call(oned)
    assert called(wire) == (method, ("devuser:pass:word", *params))
    assert len(wire.calls) == 1


STATUS = {
    0x0100: errors.Unauthorized,
    0x0200: errors.Forbidden,
    0x0400: errors.NotFound,
    0x0800: errors.ActionRefused,
    0x1000: errors.BadGateway,
    0x2000: errors.BadGateway,
    0x4000: errors.BadGateway,
}
BY_TEXT = {
    "Not enough": errors.CapacityRefused,
    "New disk size": errors.CapacityRefused,
    "Cannot resize a VM in state": errors.Locked,
    "resize disk for VM": errors.Locked,
    "Not authorized": errors.Forbidden,
}


@pytest.mark.parametrize(
    "seen", recorded("refusals"), ids=lambda r: f"{r['release']}-{r['message'][:60]}"
)
def test_each_recorded_refusal_has_its_error(wire: Wire, oned: Oned, seen: dict) -> None:
    answer(wire, xmlrpc_answer(False, seen["message"], seen["code"]))
    wanted = next(
        (w for text, w in BY_TEXT.items() if text in seen["message"]), STATUS[seen["code"]]
    )
    with pytest.raises(errors.EngineError) as caught:
        oned.resize_vm(35, "CPU=64")
    assert type(caught.value) is wanted
    login = "OpenNebula does not know this user and password"
    assert caught.value.message == (login if wanted is errors.Unauthorized else seen["message"])


def test_a_quota_that_is_reached_is_a_lack_of_capacity(wire: Wire, oned: Oned) -> None:
    message = (
        "[one.template.instantiate] User [2] : user [2] limit of 1 reached for VMS quota in VM."
    )
    answer(wire, xmlrpc_answer(False, message, 0x0200))
    with pytest.raises(errors.CapacityRefused):
        oned.resize_vm(1, "CPU=1")


@pytest.mark.parametrize("code", sorted(STATUS))
def test_each_code_has_its_error(wire: Wire, oned: Oned, code: int) -> None:
    answer(wire, xmlrpc_answer(False, "[one.vm.info] something else", code))
    with pytest.raises(errors.EngineError) as caught:
        oned.document(1)
    assert type(caught.value) is STATUS[code]


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (-506, "Method 'one.nosuch.method' not defined"),
        (-501, "Parameter that is supposed to be integer is not"),
        (-503, "Call XML not a proper XML-RPC call."),
    ],
)
def test_a_fault_is_nonsense_of_opennebula(wire: Wire, oned: Oned, code: int, text: str) -> None:
    answer(wire, xmlrpc_fault(code, text))
    with pytest.raises(errors.BadGateway) as caught:
        oned.document(1)
    assert text in str(caught.value)


GARBAGE = {
    "empty": "",
    "text": "hello",
    "html": "<html><body>It works!</body></html>",
    "xml that is cut": xmlrpc_answer(True, "7.4.0")[:-40],
    "no array": xmlrpc_answer(True, "x").replace("<array>", "<a>").replace("</array>", "</a>"),
    "array of one": "<methodResponse><params><param><value><array><data><value><boolean>1"
    "</boolean></value></data></array></value></param></params></methodResponse>",
    "number that is none": xmlrpc_answer(True, 5).replace("<i4>5</i4>", "<i4>five</i4>"),
    "binary": b"\x80\x81\x00\xff",
    "entities": '<!DOCTYPE x [<!ENTITY a "aaaa">]><methodResponse>&a;</methodResponse>',
}


@pytest.mark.parametrize("text", GARBAGE.values(), ids=GARBAGE)
def test_garbage_is_nonsense_of_opennebula(wire: Wire, oned: Oned, text: str | bytes) -> None:
    answer(wire, text)
    with pytest.raises(errors.BadGateway):
        oned.delete_document(1)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "no xml",
        7,
        "<DOCUMENT><ID>x</ID></DOCUMENT>",
        "<DOCUMENT>",
        "<DOCUMENT><ID>1</ID><TYPE>many</TYPE></DOCUMENT>",
    ],
)
def test_a_document_that_is_none_is_nonsense_of_opennebula(
    wire: Wire, oned: Oned, value: str | int
) -> None:
    answer(wire, xmlrpc_answer(True, value))
    with pytest.raises(errors.BadGateway):
        oned.document(1)


@pytest.mark.parametrize(
    "broken",
    [
        "<VM><ID>1</ID></VM>",
        vm_xml(template="<CPU>two</CPU>"),
        vm_xml(template="<MEMORY>much</MEMORY>"),
        vm_xml().replace("<STATE>3", "<STATE>ACTIVE"),
    ],
)
def test_a_vm_that_is_none_is_nonsense_of_opennebula(wire: Wire, oned: Oned, broken: str) -> None:
    answer(wire, xmlrpc_answer(True, f"<VM_POOL>{broken}</VM_POOL>"))
    with pytest.raises(errors.BadGateway):
        oned.vms([1])


@pytest.mark.parametrize("status", [301, 400, 404, 500, 502, 503])
def test_another_status_than_200_is_nonsense_of_opennebula(
    wire: Wire, oned: Oned, status: int
) -> None:
    answer(wire, "<html>secret trace</html>", status)
    with pytest.raises(errors.BadGateway) as caught:
        oned.document(1)
    assert str(status) in str(caught.value)
    assert "html" not in str(caught.value)


@pytest.mark.parametrize(
    ("failure", "wanted"),
    [
        (CLOSE, errors.BackendUnreachable),
        (HANG, errors.BackendTimeout),
        (CUT, errors.BadGateway),
    ],
)
def test_a_failure_on_the_way_has_its_error(
    wire: Wire, failure: str, wanted: type[errors.EngineError]
) -> None:
    wire.fail(failure)
    with pytest.raises(wanted):
        new_oned(wire, seconds=1).document(1)


def test_a_read_is_sent_again_when_its_connection_breaks(wire: Wire, oned: Oned) -> None:
    wire.fail(CLOSE)
    answer(wire, xmlrpc_answer(True, "7.4.0"))
    assert oned.version() == "7.4.0"


@pytest.mark.parametrize(
    "call",
    [
        lambda o: o.allocate_document("T", 1337),
        lambda o: o.delete_document(9),
        lambda o: o.lock_document(9),
        lambda o: o.resize_vm(7, "CPU=1"),
        lambda o: o.resize_disk(7, 0, 1),
    ],
)
def test_what_must_not_happen_twice_is_asked_once(wire: Wire, oned: Oned, call: Callable) -> None:
    wire.fail(CLOSE)
    with pytest.raises(errors.BackendUnreachable):
        call(oned)
    assert len(wire.calls) == 1


def test_vms_come_by_id_whatever_the_order(wire: Wire, oned: Oned) -> None:
    pool = f"<VM_POOL>{vm_xml(vm_id=9)}{vm_xml(vm_id=7)}</VM_POOL>"
    answer(wire, xmlrpc_answer(True, pool))
    vms = oned.vms([7, 8, 9])
    assert {i: v.id for i, v in vms.items()} == {7: 7, 9: 9}


def test_no_vms_are_asked_for_without_a_call(wire: Wire, oned: Oned) -> None:
    assert oned.vms([]) == {}
    assert len(wire.calls) == 0


@pytest.mark.parametrize(
    ("own", "default", "limit"),
    [("5", "", 5), ("-1", "3", -1), ("-2", "3", 3), ("", "3", 3), ("-2", "", -1), ("", "", -1)],
)
def test_a_quota_of_minus_two_is_the_default_and_of_minus_one_none(
    wire: Wire, oned: Oned, own: str, default: str, limit: float
) -> None:
    mine = f"<VM_QUOTA><VM><VMS>{own}</VMS><VMS_USED>2</VMS_USED></VM></VM_QUOTA>" if own else ""
    others = f"<VM_QUOTA><VM><VMS>{default}</VMS></VM></VM_QUOTA>" if default else "<VM_QUOTA/>"
    xml = f"<USER>{mine}<DEFAULT_USER_QUOTAS>{others}</DEFAULT_USER_QUOTAS></USER>"
    answer(wire, xmlrpc_answer(True, xml))
    quota = oned.quota()
    assert quota.limits["VMS"] == limit
    assert quota.used["VMS"] == (2 if own else 0)


def test_text_beyond_ascii_goes_out_as_it_is(wire: Wire) -> None:
    oned = new_oned(wire, "jürgen:ça:漢")
    answer(wire, xmlrpc_answer(True, 9))
    oned.rename_document(9, 'é "<&>" 漢')
    assert called(wire)[1] == ("jürgen:ça:漢", 9, 'é "<&>" 漢')


def test_no_time_left_is_told_without_a_call(wire: Wire) -> None:
    oned = new_oned(wire, seconds=0)
    with pytest.raises(errors.BackendTimeout):
        oned.version()
    assert len(wire.calls) == 0


# ---- several calls in one request ---------------------------------------------------------------

POOL = f"<VM_POOL>{vm_xml(vm_id=7)}</VM_POOL>"
READ = (Oned.document.call(9), Oned.vms_call([7], with_actions=False))


def together(*results: str) -> str:
    """The response to a multicall."""
    values = "".join(f"<value>{result}</value>" for result in results)
    return (
        "<methodResponse><params><param><value><array><data>"
        f"{values}</data></array></value></param></params></methodResponse>"
    )


def part(ok: bool, value: str | int, code: int = 0) -> str:
    """The result of one call of a multicall: an array of an array of three."""
    (inner,) = re.findall(r"<array>.*</array>", xmlrpc_answer(ok, value, code), re.S)
    return f"<array><data><value>{inner}</value></data></array>"


FAULT = (
    "<struct><member><name>faultCode</name><value><i4>-506</i4></value></member><member><name>"
    "faultString</name><value><string>not defined</string></value></member></struct>"
)


def test_calls_together_are_one_request_in_their_order(wire: Wire, oned: Oned) -> None:
    answer(wire, together(part(True, document_xml({})), part(True, POOL)))
    document, vms = oned.together(*READ)
    assert isinstance(document.get(), Document)
    assert set(vms.get()) == {7}
    method, ((first, second),) = called(wire)
    assert method == "system.multicall"
    session = "devuser:pass:word"
    assert first == {"methodName": "one.document.info", "params": [session, 9, False]}
    assert second == {"methodName": "one.vmpool.infoset", "params": [session, "7", True]}


def test_an_error_stays_with_its_call(wire: Wire, oned: Oned) -> None:
    gone = part(False, "[one.document.info] Error getting document [9].", 0x0400)
    answer(wire, together(gone, FAULT, part(True, POOL)))
    outcomes = oned.together(READ[0], *READ)
    assert [type(outcome.error) for outcome in outcomes[:2]] == [errors.NotFound, errors.BadGateway]
    assert set(outcomes[2].get()) == {7}


def test_a_lock_that_another_request_holds_tells_since_when(wire: Wire, oned: Oned) -> None:
    held = part(False, "[one.document.lock] 1795486136", 0x0800)
    answer(wire, together(held, part(True, document_xml({}))))
    lock, document = oned.together(Oned.lock_document.call(9), READ[0])
    assert lock.get() == 1795486136
    assert document.error is None


@pytest.mark.parametrize(
    "text",
    [
        together(part(True, document_xml({}))),
        together(*[part(True, POOL)] * 3),
        together("<i4>1</i4>", "<string>x</string>"),
        together("<array><data></data></array>", "<array><data></data></array>"),
        together(*["<array><data><value><array><data/></array></value></data></array>"] * 2),
        together("<struct></struct>", "<struct><member><name>a</name></member></struct>"),
        together("<array>" * 2000 + "</array>" * 2000, FAULT),
        together(part(True, 5), part(True, "text")),
        xmlrpc_fault(-503, "malformed"),
        xmlrpc_answer(False, "refused", 0x0100),
        *GARBAGE.values(),
    ],
)
def test_a_response_that_does_not_fit_is_invalid_for_each_call(
    wire: Wire, oned: Oned, text: str | bytes
) -> None:
    answer(wire, text)
    assert [type(o.error) for o in oned.together(*READ)] == [errors.BadGateway] * 2


@pytest.mark.parametrize(
    ("several", "requests"),
    [
        (READ, 2),
        ((Oned.lock_document.call(9), *READ), 1),
        ((Oned.delete_document.call(9), READ[0]), 1),
    ],
    ids=["reads", "with a lock", "with a delete"],
)
def test_only_what_is_repeatable_as_a_whole_is_sent_again(
    wire: Wire, oned: Oned, several: tuple[Any, ...], requests: int
) -> None:
    wire.fail(CLOSE)
    outcomes = oned.together(*several)
    assert {type(outcome.error) for outcome in outcomes} == {errors.BackendUnreachable}
    assert len(wire.calls) == requests
