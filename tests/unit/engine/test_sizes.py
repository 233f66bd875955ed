"""The sizes of a function."""

from __future__ import annotations

from typing import Any

import pytest

from provision_engine.engine.runtime import sizes
from provision_engine.engine.runtime.specification import RequestedFunction
from tests.unit.support import configuration, vm

ASKED = {"CPU": 3, "MEMORY": 300, "DISK_SIZE": 3000}


@pytest.mark.parametrize(
    ("requested", "template", "found"),
    [
        (ASKED, {"CPU": "8", "MEMORY": "800", "DISK": {"SIZE": "80"}}, (3, 300, 3000)),
        ({}, {"CPU": "8", "MEMORY": "800", "DISK": {"SIZE": "80"}}, (8, 800, 80)),
        ({}, {"CPU": "0.5", "DISK": {"IMAGE": "i"}}, (1, 1024, 1024)),
        ({}, {}, (2, 1024, 1024)),
        ({}, {"CPU": "x", "MEMORY": "", "DISK": [{"SIZE": "5"}, {}]}, (2, 1024, 5)),
        ({}, {"CPU": "nan", "MEMORY": "inf", "DISK": {"SIZE": "0"}}, (2, 1024, 1024)),
        ({"MEMORY": 1}, {"CPU": "4"}, (4, 1, 1024)),
    ],
)
def test_a_size_is_requested_or_of_the_vm_template_or_configured(
    requested: dict[str, int], template: dict[str, Any], found: tuple[int, ...]
) -> None:
    function = RequestedFunction("f", requested).sized(template, configuration().capacity)
    assert function.sizes == dict(zip(sizes.SIZES, found, strict=True))
    assert function.flavour == "f"


def test_a_vm_without_a_disk_has_no_size_of_it() -> None:
    bare = vm(template="<CPU>1.5</CPU><MEMORY>512</MEMORY>")
    assert sizes.from_vm(bare) == {"CPU": 2, "MEMORY": 512}


def test_sizes_are_shown_with_their_units() -> None:
    assert sizes.shown(ASKED) == "CPU 3, MEMORY 300 MB, DISK_SIZE 3000 MB"


def test_each_size_counts_towards_a_quota_of_its_own() -> None:
    assert sizes.quota_of(ASKED) == {"CPU": 3, "MEMORY": 300, "SYSTEM_DISK_SIZE": 3000}
