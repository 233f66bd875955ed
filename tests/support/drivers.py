"""Slow or failing hypervisors in a real test installation: files of OpenNebula's dummy driver.

A file ``deploy`` with ``success 6`` makes each boot take six seconds, one with ``failure`` makes
it fail; ``resize``, ``resize_disk``, ``cancel`` and ``shutdown`` likewise. An installation whose
dummy transfer driver reads ``prolog`` in the same way shows that state too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

ACTIONS_HELP = "of a real OpenNebula: the directory with the files of its dummy driver"
SLOW = {
    "prolog": "success 8",
    "deploy": "success 12",
    "resize": "success 12",
    "resize_disk": "success 12",
    "cancel": "success 6",
    "shutdown": "success 6",
}
"""As slow as a real hypervisor, and much slower than oneflow, of which a request takes seconds
while several are made; where everything is done at once, nothing shows."""
BOOT_FAILS = SLOW | {"deploy": "failure"}


@contextlib.contextmanager
def driver_actions(directory: Path | None, actions: Mapping[str, str]) -> Iterator[None]:
    """Sets the driver, and restores its files afterwards. Does nothing without a directory.

    OSError if the directory is not writable.
    """
    if directory is None:
        yield
        return
    files = [directory / name for name in actions]
    before = {file: file.read_bytes() if file.is_file() else None for file in files}
    try:
        for file, text in zip(files, actions.values(), strict=True):
            file.write_text(f"{text}\n")
        yield
    finally:
        for file, content in before.items():
            if content is None:
                file.unlink(missing_ok=True)
            else:
                file.write_bytes(content)
