"""DELETE /serverless-runtimes/{id}."""

from __future__ import annotations

from tests.support.waiting import wait_until

from .device import Device, data, small


def test_a_deleted_runtime_is_gone_with_its_service_and_vms(device: Device) -> None:
    before = device.one.holdings()
    runtime = device.create_running(FAAS=small(), DAAS=data())
    answer = device.delete(runtime["ID"])
    assert (answer.status, answer.content) == (204, b"")
    assert device.get(runtime["ID"]).status == 404
    wait_until(lambda: device.one.holdings() == before)


def test_a_missing_service_is_not_an_error(device: Device) -> None:
    runtime = device.create_running()
    device.one.end_service(runtime["SERVICE_ID"])
    wait_until(lambda: device.one.refusal("document.info", runtime["SERVICE_ID"], False))
    assert device.delete(runtime["ID"]).status == 204
    assert device.get(runtime["ID"]).status == 404


def test_a_service_that_ends_after_the_response_is_deleted_too(device: Device) -> None:
    runtime = device.create_running()
    device.one.until_service_runs(runtime["SERVICE_ID"])
    device.slow_down(shutdown_seconds=60.0)
    with device.another_engine(timeout=3) as hurried:
        assert hurried.delete(runtime["ID"]).status == 204
    assert device.get(runtime["ID"]).status == 404
    assert device.delete(runtime["ID"]).status == 404
    device.pass_time(60)
    wait_until(lambda: device.one.refusal("document.info", runtime["SERVICE_ID"], False))
