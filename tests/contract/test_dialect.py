"""The dialect is detected, and detected again after an upgrade of OpenNebula."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from provision_engine.sandbox import Sandbox

from . import settings
from .device import QUICK, Stage, data, small

pytestmark = pytest.mark.skipif(settings.IS_REAL, reason="a real OpenNebula is not upgraded by us")


@pytest.mark.parametrize(("before", "after"), [("6.8.0", "7.4.0"), ("7.4.0", "6.8.0")])
def test_a_running_engine_speaks_the_new_dialect_after_an_upgrade(before: str, after: str) -> None:
    with Sandbox(before, timings=QUICK) as old:
        stage = Stage(old.oned_url, old.oneflow_url, old)
        ports = [urlsplit(url).port for url in (old.oned_url, old.oneflow_url)]
        # Cached templates must not survive the upgrade.
        with stage.engine(cache={"seconds": 60}) as url:
            device = stage.device(url=url)
            assert device.create_running(FAAS=small(), DAAS=data())["DAAS"]["CPU"] == 1
            old.stop()
            with Sandbox(after, *ports, timings=QUICK):
                # The first create may still use what is cached of the old release.
                device.post(FAAS=small(CPU=2), DAAS=data(CPU=1))
                sent = {"GEOGRAPHIC_LOCATION": 'say "hi"'}
                runtime = device.create_running(
                    FAAS=small(CPU=2), DAAS=data(CPU=1), DEVICE_INFO=sent
                )
                seen = device.one.vm(runtime["FAAS"]["VM_ID"])
                assert seen["TEMPLATE"]["CPU"] == "2"
                assert seen["TEMPLATE"]["VCPU_MAX"] == "4"
                assert seen["USER_TEMPLATE"]["DEVICE_INFO"] == sent
                assert device.delete(runtime["ID"]).status == 204
