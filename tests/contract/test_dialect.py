"""The dialect is detected, and detected again after an upgrade of OpenNebula."""

from __future__ import annotations

import pytest

from provision_engine.sandbox import Sandbox

from . import settings
from .conftest import QUICK, engine
from .device import Device, data, small
from .opennebula import OpenNebula

pytestmark = pytest.mark.skipif(settings.IS_REAL, reason="a real OpenNebula is not upgraded by us")


@pytest.mark.parametrize(("before", "after"), [("6.8.0", "7.4.0"), ("7.4.0", "6.8.0")])
def test_a_running_engine_speaks_the_new_dialect_after_an_upgrade(before: str, after: str) -> None:
    with Sandbox(before, timings=QUICK) as old:
        urls = old.oned_url, old.oneflow_url
        ports = [int(url.split(":")[2].split("/")[0]) for url in urls]
        # Cached templates must not survive the upgrade: the default cache is on.
        with engine(*urls, "timeout: 10\n") as url:
            device = Device(url, settings.USER)
            assert device.create_running(FAAS=small(), DAAS=data())["DAAS"]["CPU"] == 1
            old.stop()
            with Sandbox(after, *ports, timings=QUICK):
                # The first create may still use what is cached of the old release.
                device.post(FAAS=small(CPU=2), DAAS=data(CPU=1))
                sent = {"GEOGRAPHIC_LOCATION": 'say "hi"'}
                runtime = device.create_running(
                    FAAS=small(CPU=2), DAAS=data(CPU=1), DEVICE_INFO=sent
                )
                opennebula = OpenNebula(*urls, settings.USER)
                seen = opennebula.vm(runtime["FAAS"]["VM_ID"])
                assert seen["TEMPLATE"]["CPU"] == "2"
                assert seen["TEMPLATE"]["VCPU_MAX"] == "4"
                assert seen["USER_TEMPLATE"]["DEVICE_INFO"] == sent
                assert device.delete(runtime["ID"]).status_code == 204
