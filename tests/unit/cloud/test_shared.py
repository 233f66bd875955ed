"""Shared calls: which they are, and what a read takes of their responses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest

from provision_engine.cloud.client import Backends, CloudClient, Credentials
from provision_engine.cloud.objects import Document, Vm
from provision_engine.cloud.oned import Oned
from provision_engine.cloud.shared import NEAR_IDS, AnsweredOned, Responses, shared_calls
from provision_engine.deadline import Deadline
from tests.unit.support import configuration, document, document_xml, vm, vm_xml, xmlrpc_answer

from .conftest import Wire
from .test_oned import called

FAR = NEAR_IDS + 1


@pytest.mark.parametrize(
    ("document_ids", "calls"),
    [
        ([9], [("document.info", 9, False)]),
        ([9, 9], [("document.info", 9, False)]),
        ([10, 9, 9], [("documentpool.info", -3, 9, 10, 1337)]),
        ([9, 9 + NEAR_IDS], [("documentpool.info", -3, 9, 9 + NEAR_IDS, 1337)]),
        ([9 + FAR, 9], [("document.info", 9, False), ("document.info", 9 + FAR, False)]),
        ([1, 2, 50, 90, 91], [
            ("documentpool.info", -3, 1, 2, 1337),
            ("document.info", 50, False),
            ("documentpool.info", -3, 90, 91, 1337),
        ]),
    ],
)  # fmt: skip
def test_ids_that_lie_near_each_other_are_one_range(
    document_ids: list[int], calls: list[tuple[Any, ...]]
) -> None:
    assert [shared.call for shared in shared_calls(document_ids, [])] == calls


def test_all_vms_are_one_call() -> None:
    (vms, _) = shared_calls([9], [8, 7, 8])
    assert vms.call == ("vmpool.infoset", "7,8", True)


def client(wire: Wire, connections: int = 5) -> CloudClient:
    text = f"one_xmlrpc: {wire.url}/RPC2\nlimits: {{oned_requests: {connections}}}"
    return CloudClient(Backends(configuration(text)), Credentials("u", "p"), Deadline(30))


def test_each_shared_call_is_sent_once(wire: Wire) -> None:
    documents = "".join(document_xml({}, id_=number) for number in (9, 10))
    pool = f"<VM_POOL>{vm_xml(vm_id=7)}</VM_POOL>"
    wire.answer(xmlrpc_answer(True, f"<P>{documents}</P>"), to=b"documentpool.info")
    wire.answer(xmlrpc_answer(True, document_xml({}, id_=99)), to=b"document.info")
    wire.answer(xmlrpc_answer(True, pool), to=b"vmpool.infoset")
    responses = client(wire).shared_responses([9, 10, 99], [7, 8])
    assert sorted(responses.documents) == [9, 10, 99]
    assert (sorted(responses.vms), responses.vm_ids) == ([7], {7, 8})
    assert sorted(called(wire, n) for n in range(len(wire.calls))) == [
        ("one.document.info", ("u:p", 99, False)),
        ("one.documentpool.info", ("u:p", -3, 9, 10, 1337)),
        ("one.vmpool.infoset", ("u:p", "7,8", True)),
    ]


def test_calls_without_a_free_connection_are_not_made(wire: Wire) -> None:
    wire.answer(xmlrpc_answer(True, "<VM_POOL/>"))
    responses = client(wire, connections=1).shared_responses([9, 99], [7])
    assert responses == Responses({}, {}, frozenset({7}))
    assert len(wire.calls) == 1


class OwnCalls:
    """oned; it records the calls."""

    def __init__(self) -> None:
        self.calls: list[object] = []

    def document(self, document_id: int) -> Document:
        self.calls.append(document_id)
        return document({}, id_=document_id)

    def vms(self, vm_ids: Sequence[int], *, with_actions: bool = True) -> dict[int, Vm]:
        self.calls.append((tuple(vm_ids), with_actions))
        return {}

    def lock_document(self, document_id: int) -> None:
        self.calls.append("lock")


RESPONSES = Responses({9: document({})}, {7: vm()}, frozenset({7, 8}))


@pytest.fixture
def own() -> OwnCalls:
    return OwnCalls()


def answered(own: OwnCalls, document_id: int = 9) -> AnsweredOned:
    return AnsweredOned(cast(Oned, own), RESPONSES, document_id)


def test_responses_are_used_once(own: OwnCalls) -> None:
    oned = answered(own)
    assert oned.document(9) is RESPONSES.documents[9]
    assert oned.vms([7, 8], with_actions=False) == RESPONSES.vms
    assert own.calls == []
    oned.document(9)
    oned.vms([7], with_actions=False)
    assert own.calls == [9, ((7,), False)]


def test_a_missing_document_is_read_by_its_own_call(own: OwnCalls) -> None:
    oned = answered(own, 10)
    assert oned.document(10).id == 10
    assert oned.vms([7], with_actions=False) == RESPONSES.vms
    assert own.calls == [10]


@pytest.mark.parametrize(("vm_ids", "with_actions"), [([7, 6], False), ([6], False), ([7], True)])
def test_other_vms_or_their_actions_are_read_by_an_own_call(
    own: OwnCalls, vm_ids: list[int], with_actions: bool
) -> None:
    answered(own).vms(vm_ids, with_actions=with_actions)
    assert own.calls == [(tuple(vm_ids), with_actions)]


def test_after_another_call_nothing_is_taken_from_responses(own: OwnCalls) -> None:
    oned = answered(own)
    oned.lock_document(9)
    oned.document(9)
    oned.vms([7], with_actions=False)
    assert own.calls == ["lock", 9, ((7,), False)]
