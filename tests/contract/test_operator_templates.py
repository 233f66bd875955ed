"""The operator's templates count: a VM made through the engine is that of oneflow itself.

Each case is one flow template, of which oneflow makes a service and the engine a runtime; their VMs
are compared attribute by attribute. Apart from what the request names they differ in what
`operators.meant` says, and in nothing else.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator

import pytest

from tests.support.opennebula import RUNTIME
from tests.support.waiting import wait_until

from . import operators, settings
from .device import Device, Json, Stage, small
from .operator_cases import CASES, OTHER_ROLE, USUAL, Case
from .operators import NETWORK6, Publisher, bits, members, usual_vm_template

pytestmark = pytest.mark.skipif(
    settings.IS_REAL and "CONTRACT_ADMIN" not in os.environ,
    reason="only an administrator publishes templates",
)


@pytest.fixture(scope="session")
def publisher(whole_stage: Stage) -> Iterator[Publisher]:
    """The administrator, with a network, a file and a VM group for the cases."""
    one = whole_stage.seen_by(settings.ADMIN)
    token = secrets.token_hex(4)
    made: list[tuple[str, int]] = []

    def make(kind: str, text: str, *further: int) -> int:
        number = int(one.call(f"{kind}.allocate", f'NAME="operators-{token}"\n{text}', *further))
        made.append((kind, number))
        one.call(f"{kind}.chmod", number, *bits("644"))
        return number

    disk, nic = (usual_vm_template(one, False)[name] for name in ("DISK", "NIC"))
    try:
        values = {
            "DISK": members(disk),
            "NIC": members(nic),
            "NETWORK_ID": usual_vm_template(one, True)["NIC"]["NETWORK_ID"],
            "NETWORK6_ID": str(make("vn", NETWORK6, 0)),
            "FILE_ID": str(make("image", 'TYPE="CONTEXT"\nPATH="/tmp/none"\nSIZE="1"', 2)),
            "GROUP_ID": str(make("vmgroup", 'ROLE=[NAME="one"]')),
        }
        yield Publisher(one, one.version(), values)
    finally:
        for kind, number in reversed(made):
            wait_until(lambda k=kind, n=number: one.refusal(f"{k}.delete", n) in (0, 0x0400))


def wanted_of(case: Case) -> tuple[str, Json]:
    """The name of a case's flow template, and the functions of the request for it."""
    functions: Json = {"FAAS": {"FLAVOUR": f"f{secrets.token_hex(6)}"} | case.function}
    if len(case.roles.keys() - {OTHER_ROLE}) == 2:
        functions["DAAS"] = {"FLAVOUR": "store"} | case.function
    return "-".join(function["FLAVOUR"] for function in functions.values()), functions


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_vm_is_the_one_that_oneflow_itself_makes(
    publisher: Publisher, device: Device, case: Case
) -> None:
    name, functions = wanted_of(case)
    with (
        publisher.published(case, name) as flow_id,
        operators.made_by_oneflow(publisher, device.one, case, flow_id) as service_id,
    ):
        runtime = device.create(**functions, **case.request)
        plain = operators.vms_of(device.one, service_id, case)
        made = operators.vms_of(device.one, runtime["SERVICE_ID"], case)
    assert made.keys() == plain.keys() == case.roles.keys()
    meant = operators.Meant(case, flow_id, device.one.user.session)
    wrong = [
        f"{role} {line}"
        for role, vms in made.items()
        for before, after in zip(plain[role], vms, strict=True)
        for line in meant.differences(before, after, is_function=role != OTHER_ROLE)
    ]
    assert wrong == []


MANDATORY = {"GREETING": ("M|text|A greeting", "")}


@pytest.mark.parametrize(
    "case",
    [
        Case("mandatory-input", inputs=MANDATORY),
        Case("mandatory-role-input", roles={"FAAS": {"inputs": MANDATORY}}),
        Case("network-without-default", flow={"networks": {"Public": "M|network|Public| |"}}),
    ],
    ids=lambda case: case.name,
)
def test_a_flavour_that_asks_for_a_value_is_not_deployable(
    publisher: Publisher, device: Device, case: Case
) -> None:
    name, functions = wanted_of(case)
    with publisher.published(case, name):
        before = device.one.ids(RUNTIME)
        response = device.post(**functions)
        assert device.one.ids(RUNTIME) == before
        flavours = device.request("GET", "/flavours").json
    (flavour,) = (found for found in flavours if found["FLAVOURS"] == name)
    assert response.status == 422, response.text
    assert not flavour["DEPLOYABLE"]
    asked = "Public" if case.flow else "GREETING"
    assert asked in response.text
    assert any(asked in finding["TEXT"] for finding in flavour["FINDINGS"])


def test_a_flow_template_that_was_published_a_moment_ago_is_found(
    publisher: Publisher, device: Device
) -> None:
    case = CASES[0]
    name, functions = wanted_of(case)
    with device.another_engine(cache={"seconds": 60}) as other:
        assert other.post(**functions).status == 422
        with publisher.published(case, name):
            other.create(**functions)


RESTRICTED = Case("update", USUAL + 'SCHED_REQUIREMENTS="CLUSTER_ID=0"\n')


def test_an_update_keeps_the_requirements_of_the_operator(
    publisher: Publisher, device: Device
) -> None:
    name, functions = wanted_of(RESTRICTED)
    with publisher.published(RESTRICTED, name):
        runtime = device.create(**functions)
        device.read_until(runtime["ID"], "RUNNING")
        # What an update that failed half-way, or its owner, has left in the VM does not count.
        left = 'SCHED_REQUIREMENTS="FREE_CPU > 9"'
        device.one.call("vm.update", runtime["FAAS"]["VM_ID"], left, 1)
        device.update(runtime["ID"], SCHEDULING={"REQUIREMENTS": "FREE_CPU > 1"})
        found = device.one.vm(runtime["FAAS"]["VM_ID"])["USER_TEMPLATE"]["SCHED_REQUIREMENTS"]
        assert found == "(CLUSTER_ID=0) & (FREE_CPU > 1)"


def test_several_policies_and_requirements_of_a_device_are_one(
    publisher: Publisher, device: Device
) -> None:
    sent = {"POLICY": "ENERGY,LATENCY", "REQUIREMENTS": "FREE_CPU>1,FREE_MEMORY>1"}
    runtime = device.create(FAAS=small(), SCHEDULING=sent)
    assert runtime["SCHEDULING"] == sent
    found = device.one.vm(runtime["FAAS"]["VM_ID"])["USER_TEMPLATE"]
    assert re.fullmatch(r"\(?ENERGY\)? ?\+ ?\(?LATENCY\)?", found["SCHED_RANK"])
    assert found["SCHED_REQUIREMENTS"] == "(FREE_CPU>1) & (FREE_MEMORY>1)"


def test_a_disk_in_the_contents_of_a_role_gets_a_size_only_where_it_stays_one_disk(
    publisher: Publisher, device: Device
) -> None:
    """On release 7 it would be one more."""
    disk = {"TYPE": "fs", "SIZE": "77", "FORMAT": "raw"}
    case = Case("sized", roles={"FAAS": {"contents": {"DISK": [disk]}}}, function={"DISK_SIZE": 80})
    name, functions = wanted_of(case)
    with publisher.published(case, name):
        response = device.post(**functions)
        if publisher.release.startswith("7"):
            assert response.status == 422
            assert "DISK_SIZE" in response.text
            return
        found = device.one.vm(response.runtime["FAAS"]["VM_ID"])["TEMPLATE"]["DISK"]
    assert found["SIZE"] == "80"
