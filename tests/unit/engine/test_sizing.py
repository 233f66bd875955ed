"""The capacity of a function."""

from __future__ import annotations

import pytest

from provision_engine.engine.runtime import sizing
from provision_engine.engine.runtime.specification import RequestedFunction
from tests.unit.support import configuration


@pytest.mark.parametrize(
    ("requested", "template", "sizes"),
    [
        ((3, 300, 3000), {"CPU": "8", "MEMORY": "800", "DISK": {"SIZE": "80"}}, (3, 300, 3000)),
        ((None,) * 3, {"CPU": "8", "MEMORY": "800", "DISK": {"SIZE": "80"}}, (8, 800, 80)),
        ((None,) * 3, {"CPU": "0.5", "DISK": {"IMAGE": "i"}}, (1, 1024, 1024)),
        ((None,) * 3, {}, (2, 1024, 1024)),
        ((None,) * 3, {"CPU": "x", "MEMORY": "", "DISK": [{"SIZE": "5"}, {}]}, (2, 1024, 5)),
        ((None,) * 3, {"CPU": "nan", "MEMORY": "inf", "DISK": {"SIZE": "0"}}, (2, 1024, 1024)),
        ((None, 1, None), {"CPU": "4"}, (4, 1, 1024)),
    ],
)
def test_capacity_is_requested_or_of_the_vm_template_or_configured(
    requested: tuple, template: dict, sizes: tuple
) -> None:
    function = sizing.size(RequestedFunction("f", *requested), template, configuration().capacity)
    assert (function.cpu, function.memory_mb, function.disk_size_mb) == sizes
    assert function.flavour == "f"
