"""The capacity of a function: as requested, else as its VM template says, else the default."""

from __future__ import annotations

import math
from typing import Any

from provision_engine.cloud.objects import Attributes
from provision_engine.cloud.values import LARGEST_NUMBER
from provision_engine.config import Capacity
from provision_engine.engine.runtime.attributes import first_disk
from provision_engine.engine.runtime.model import Function
from provision_engine.engine.runtime.specification import RequestedFunction


def size(function: RequestedFunction, template: Attributes, capacity: Capacity) -> Function:
    """A function with its capacity; ``template`` holds the attributes of its VM template."""
    disk = first_disk(template)
    return Function(
        flavour=function.flavour,
        cpu=function.cpu or _size(template.get("CPU")) or capacity.cpu.default_cores,
        memory_mb=function.memory_mb or _size(template.get("MEMORY")) or capacity.memory.default_mb,
        disk_size_mb=function.disk_size_mb or _size(disk.get("SIZE")) or capacity.disk.default_mb,
    )


def _size(text: Any) -> int | None:
    """A size in a VM template, rounded up to whole units; None where there is none."""
    try:
        size = math.ceil(float(text))
    except (TypeError, ValueError, OverflowError):
        return None
    return size if 0 < size <= LARGEST_NUMBER else None
