"""The stories of the recordings: scenarios that are replayed together, and when they began."""

from __future__ import annotations

_BOTH = (
    ("create-faas", "update", "delete-faas"),
    ("delete-while-booting", "order-to-end-while-booting"),
    ("scheduled-actions-in-pool", "suspend-resume"),
)
# In the recording of 6.8.0 these three are interleaved: the first two were recorded twice.
_LEASES = ("lock-levels-allow-update", "lease-by-scheduled-action", "lease-renewal")
JOINED: dict[str, tuple[tuple[str, ...], ...]] = {"6.8.0": (*_BOTH, _LEASES), "7.4.0": _BOTH}
"""Scenarios that form one story, because later ones use what earlier ones created."""

EPOCHS: dict[str, tuple[float, ...]] = {
    "6.8.0": (
        1795484881.95,
        1795486133.70,
        1795487288.10,
        1795487412.40,
        1795515042.3,
        1795519617.3,
        1795519855.0,
        1795539903.3,
        1796128081.71,
        1796129346.51,
        1796129746.82,
        1796136570.68,
    ),
    "7.4.0": (
        1795485759.20,
        1795486336.20,
        1795487354.50,
        1795515042.3,
        1795519144.1,
        1795519926.9,
        1795539905.2,
        1796127268.84,
        1796128119.89,
        1796129092.11,
        1796129499.56,
        1796136571.86,
    ),
}
"""The start of each part of a recording, in seconds since the epoch."""
