"""GET /quota: the caller's limits and usage."""

from __future__ import annotations

from .device import Device, small


def test_the_usage_includes_a_runtime(device: Device) -> None:
    before = device.request("GET", "/quota").json
    device.create(FAAS=small(CPU=2))
    after = device.request("GET", "/quota").json
    assert after["VMS"]["USED"] - before["VMS"]["USED"] == 1
    assert after["CPU"]["USED"] - before["CPU"]["USED"] == 2
    assert after["MEMORY"]["USED"] - before["MEMORY"]["USED"] == small()["MEMORY"]


def test_a_limit_is_a_number_or_null(device: Device) -> None:
    device.limit(VMS=4)
    quota = device.request("GET", "/quota").json
    assert quota["VMS"]["LIMIT"] == 4
    assert quota["MEMORY"]["LIMIT"] is None


def test_without_a_login_it_is_refused(device: Device) -> None:
    assert device.request("GET", "/quota", user=None).status == 401
