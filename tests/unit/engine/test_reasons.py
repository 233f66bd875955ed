"""What OpenNebula says, in words for a person. The messages are those of the recordings."""

from __future__ import annotations

import pytest

from provision_engine.engine import states, view

ROLE = "Role FAAS : Instantiate failed for template 0; [one.template.instantiate] "
DATE = "Tue Nov 24 01:49:35 2026: "
SCHEDULER = (
    f"{DATE}Cannot dispatch VM: No host meets capacity and SCHED_REQUIREMENTS: (CLUSTER_ID = 0)"
    " & !(PUBLIC_CLOUD = YES) & !(PIN_POLICY = PINNED)"
)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (f"{SCHEDULER} & ( ENERGY=50 )", "no host satisfies ENERGY=50"),
        (f"{SCHEDULER} & ( (A > 1) & (B < 2) )", "no host satisfies (A > 1) & (B < 2)"),
        (SCHEDULER, "no host has enough free CPU and memory"),
        (
            f"{ROLE}User [2] : user [2] limit of 1 reached for VMS quota in VM.",
            "user quota of 1 VM reached",
        ),
        ("user [2] limit of 2 reached for VMS quota in VM.", "user quota of 2 VMs reached"),
        ("group [1] limit of 4 reached for CPU quota in VM.", "group quota of 4 cores reached"),
        (
            "user [2] limit of 512 reached for MEMORY quota in VM.",
            "user quota of 512 MB of memory reached",
        ),
        (
            "user [2] limit of 1 reached for RUNNING_VMS quota in VM.",
            "user quota of 1 running VM reached",
        ),
        (
            "user [2] limit of 7 reached for LEASES quota in NETWORK.",
            "user quota of 7 LEASES reached",
        ),
        (
            f"{ROLE}Error getting virtual machine template [999].",
            "VM template 999 does not exist",
        ),
        (
            f"{ROLE}User [2] : Not authorized to perform USE TEMPLATE [2].",
            "the user may not use VM template 2",
        ),
        (
            f"{ROLE}Error allocating a new virtual machine template. MEMORY attribute must be a"
            " positive integer value.",
            "Error allocating a new virtual machine template. MEMORY attribute must be a"
            " positive integer value.",
        ),
        (f"{DATE}DEPLOY: host00: dummy", "DEPLOY: host00: dummy"),
        ("{0} {what} %s", "{0} {what} %s"),
        ("", ""),
    ],
)
def test_a_message_becomes_words(message: str, words: str) -> None:
    assert states.plain(message) == words


@pytest.mark.parametrize("letter", ["x", '"', "é", "漢", "\\", "\ud800"])
def test_a_long_reason_is_cut_where_it_takes_so_many_bytes(letter: str) -> None:
    cut = view._cut(letter * 5000)
    assert cut.endswith("…")
    assert len(view._told(cut)) <= view.REASON_BYTES + 3
    assert len(view._told(cut)) > view.REASON_BYTES * 0.9
    assert view._cut(letter * 100) == letter * 100
