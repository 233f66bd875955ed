"""The Idempotency-Key header of POST."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.client import Response

from .device import Device, data, small
from .settings import DENIED_FLAVOUR


@pytest.fixture
def key() -> str:
    return str(uuid.uuid4())


def post(device: Device, key: str, query: str = "", **members: Any) -> Response:
    headers = {"Idempotency-Key": key}
    return device.post(query, headers=headers, **(members or {"FAAS": small()}))


def test_a_repeat_is_a_200_with_the_same_runtime(device: Device, key: str) -> None:
    first = post(device, key)
    held = device.one.holdings()
    again = post(device, key)
    assert (first.status, again.status) == (201, 200)
    assert again.runtime["ID"] == first.runtime["ID"]
    assert again.headers["Location"] == first.headers["Location"]
    assert device.one.holdings() == held


def test_another_body_is_a_conflict(device: Device, key: str) -> None:
    post(device, key)
    held = device.one.holdings()
    answer = post(device, key, FAAS=small(CPU=2))
    assert answer.status == 409
    assert device.one.holdings() == held


def test_the_order_of_members_makes_no_difference(device: Device, key: str) -> None:
    first = post(device, key, NAME="lamp", FAAS=small())
    again = post(device, key, FAAS=dict(reversed(small().items())), NAME="lamp")
    assert again.runtime["ID"] == first.runtime["ID"]


def test_other_keys_and_no_key_create_other_runtimes(device: Device, key: str) -> None:
    made = {post(device, k).runtime["ID"] for k in (key, f"{key}-other")}
    made.add(device.create()["ID"])
    assert len(made) == 3


def test_the_same_key_of_another_user_creates_another_runtime(
    device: Device, stranger: Device, key: str
) -> None:
    first, other = post(device, key), post(stranger, key)
    assert (first.status, other.status) == (201, 201)
    assert first.runtime["ID"] != other.runtime["ID"]
    assert stranger.delete(other.runtime["ID"]).status == 204


def test_concurrent_requests_to_several_engines_create_one_runtime(
    device: Device, key: str
) -> None:
    before = device.one.holdings()
    with device.another_engine() as other, ThreadPoolExecutor(8) as pool:
        engines = [device, other]
        answers = list(pool.map(lambda n: post(engines[n % 2], key), range(8)))
    statuses = sorted(answer.status for answer in answers)
    assert statuses == [200] * 7 + [201]
    assert len({answer.runtime["ID"] for answer in answers}) == 1
    after = device.one.holdings()
    new = {what: len(ids - before[what]) for what, ids in after.items()}
    assert new == {"runtimes": 1, "services": 1, "VMs": 1, "locks": 0}


def test_the_key_is_free_again_when_the_runtime_is_gone(device: Device, key: str) -> None:
    first = post(device, key).runtime["ID"]
    assert device.delete(first).status == 204
    again = post(device, key)
    assert again.status == 201
    assert again.runtime["ID"] != first


def test_a_create_that_failed_does_not_use_up_the_key(device: Device, key: str) -> None:
    before = device.one.holdings()
    assert post(device, key, FAAS=small(FLAVOUR=DENIED_FLAVOUR)).status == 403
    assert device.one.holdings() == before
    assert post(device, key).status == 201


@pytest.mark.parametrize("bad", ["", "x" * 256, "schlüssel".encode().decode("latin-1")])
def test_an_invalid_key_is_rejected_and_nothing_is_created(device: Device, bad: str) -> None:
    before = device.one.holdings()
    answer = post(device, bad)
    assert answer.status == 400
    assert "Idempotency-Key" in answer.json["message"]
    assert device.one.holdings() == before


def test_a_repeat_can_wait_too(device: Device, key: str) -> None:
    post(device, key)
    answer = post(device, key, "?wait=60")
    assert answer.status == 200
    assert answer.runtime["FAAS"]["STATE"] == "RUNNING"


def test_a_key_appears_nowhere(device: Device, key: str) -> None:
    made = post(device, key)
    assert key not in made.text
    assert key not in device.get(made.runtime["ID"]).text
    assert key not in str(device.list())


def test_a_key_costs_two_reads_of_the_caller_s_runtimes(device: Device, key: str) -> None:
    wanted = {"FAAS": small(), "DAAS": data()}
    with device.counted() as without:
        device.create(**wanted)
    with device.counted() as with_key:
        post(device, key, **wanted)
    for calls in (without, with_key):
        calls.pop("one.document.info")  # as many as it takes until the VMs exist
    assert with_key - without == {"one.documentpool.info": 2}
    with device.counted() as repeated:
        post(device, key, **wanted)
    assert repeated == {"one.documentpool.info": 1, "one.document.info": 1}
