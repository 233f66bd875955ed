"""The Idempotency-Key header of POST."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from provision_engine.sandbox import Sandbox

from .conftest import Stage
from .device import PATH, Device, data, small
from .lifetime import counted, listed
from .opennebula import OpenNebula
from .settings import DENIED_FLAVOUR, STRANGER, USER


@pytest.fixture
def key() -> str:
    return str(uuid.uuid4())


def post(device: Device, key: str, **members: Any) -> requests.Response:
    answer = requests.post(
        device.url + PATH,
        json={"SERVERLESS_RUNTIME": members or {"FAAS": small()}},
        headers={"Idempotency-Key": key},
        auth=device.user.pair,
        timeout=120,
    )
    if answer.ok:
        device.made.append(answer.json()["SERVERLESS_RUNTIME"]["ID"])
    return answer


def runtime_id(answer: requests.Response) -> int:
    return int(answer.json()["SERVERLESS_RUNTIME"]["ID"])


def test_a_repeat_is_a_200_with_the_same_runtime(
    device: Device, opennebula: OpenNebula, key: str
) -> None:
    first = post(device, key)
    held = opennebula.holdings()
    again = post(device, key)
    assert (first.status_code, again.status_code) == (201, 200)
    assert runtime_id(again) == runtime_id(first)
    assert again.headers["Location"] == first.headers["Location"]
    assert opennebula.holdings() == held


def test_another_body_is_a_conflict(device: Device, opennebula: OpenNebula, key: str) -> None:
    post(device, key)
    held = opennebula.holdings()
    answer = post(device, key, FAAS=small(CPU=2))
    assert answer.status_code == 409
    assert opennebula.holdings() == held


def test_the_order_of_members_makes_no_difference(device: Device, key: str) -> None:
    first = post(device, key, NAME="lamp", FAAS=small())
    again = post(device, key, FAAS=dict(reversed(small().items())), NAME="lamp")
    assert runtime_id(again) == runtime_id(first)


def test_other_keys_and_no_key_create_other_runtimes(device: Device, key: str) -> None:
    made = {runtime_id(post(device, k)) for k in (key, f"{key}-other")}
    made.add(device.create()["ID"])
    assert len(made) == 3


def test_the_same_key_of_another_user_creates_another_runtime(
    stage: Stage, device: Device, key: str
) -> None:
    theirs = Device(stage.engine_url, STRANGER)
    first, other = post(device, key), post(theirs, key)
    assert (first.status_code, other.status_code) == (201, 201)
    assert runtime_id(first) != runtime_id(other)
    assert theirs.delete(runtime_id(other)).status_code == 204


def test_concurrent_requests_to_several_engines_create_one_runtime(
    stage: Stage, device: Device, opennebula: OpenNebula, key: str
) -> None:
    before = opennebula.holdings()
    with stage.another_engine() as url, ThreadPoolExecutor(8) as pool:
        engines = [device, Device(url, USER)]
        answers = list(pool.map(lambda n: post(engines[n % 2], key), range(8)))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [200] * 7 + [201]
    assert len({runtime_id(answer) for answer in answers}) == 1
    after = opennebula.holdings()
    assert {what: len(ids - before[what]) for what, ids in after.items()} == {
        "runtimes": 1,
        "services": 1,
        "VMs": 1,
        "locks": 0,
    }


def test_the_key_is_free_again_when_the_runtime_is_gone(device: Device, key: str) -> None:
    first = runtime_id(post(device, key))
    assert device.delete(first).status_code == 204
    again = post(device, key)
    assert again.status_code == 201
    assert runtime_id(again) != first


def test_a_create_that_failed_does_not_use_up_the_key(
    device: Device, opennebula: OpenNebula, key: str
) -> None:
    before = opennebula.holdings()
    assert post(device, key, FAAS=small(FLAVOUR=DENIED_FLAVOUR)).status_code == 403
    assert opennebula.holdings() == before
    assert post(device, key).status_code == 201


@pytest.mark.parametrize("bad", ["", "x" * 256, "schlüssel".encode().decode("latin-1")])
def test_an_invalid_key_is_rejected_and_nothing_is_created(
    device: Device, opennebula: OpenNebula, bad: str
) -> None:
    before = opennebula.holdings()
    answer = post(device, bad)
    assert answer.status_code == 400
    assert "Idempotency-Key" in answer.json()["message"]
    assert opennebula.holdings() == before


def test_a_repeat_can_wait_too(device: Device, key: str) -> None:
    post(device, key)
    answer = requests.post(
        f"{device.url}{PATH}?wait=60",
        json={"SERVERLESS_RUNTIME": {"FAAS": small()}},
        headers={"Idempotency-Key": key},
        auth=device.user.pair,
        timeout=120,
    )
    assert answer.status_code == 200
    assert answer.json()["SERVERLESS_RUNTIME"]["FAAS"]["STATE"] == "RUNNING"


def test_a_key_appears_nowhere(device: Device, key: str) -> None:
    made = post(device, key)
    assert key not in made.text
    assert key not in device.get(runtime_id(made)).text
    assert key not in str(listed(device))


def test_a_key_costs_two_reads_of_the_caller_s_runtimes(
    device: Device, sandbox: Sandbox, key: str
) -> None:
    wanted = {"FAAS": small(), "DAAS": data()}
    with counted(sandbox) as without:
        device.create(**wanted)
    with counted(sandbox) as with_key:
        post(device, key, **wanted)
    for calls in (without, with_key):
        calls.pop("one.document.info")  # as many as it takes until the VMs exist
    assert with_key - without == {"one.documentpool.info": 2}
    with counted(sandbox) as repeated:
        post(device, key, **wanted)
    assert repeated == {"one.documentpool.info": 1, "one.document.info": 1}
