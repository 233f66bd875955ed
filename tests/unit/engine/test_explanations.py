"""OpenNebula's messages, explained for people. The messages are those of the recordings."""

from __future__ import annotations

import pytest

from provision_engine.engine.runtime.explanations import (
    UNNAMED_REQUIREMENTS,
    Explanation,
    Reason,
    explain,
)

ROLE = "Role FAAS : Instantiate failed for template 0; [one.template.instantiate] "
DATE = "Tue Nov 24 01:49:35 2026: "
SCHEDULER = (
    f"{DATE}Cannot dispatch VM: No host meets capacity and SCHED_REQUIREMENTS: (CLUSTER_ID = 0)"
    " & !(PUBLIC_CLOUD = YES) & !(PIN_POLICY = PINNED)"
)
NO_TEMPLATE = (
    "Error allocating a new virtual machine template. MEMORY attribute must be a"
    " positive integer value."
)


def limit(count: int, metric: str, whose: str = "user [2]") -> str:
    return f"{whose} limit of {count} reached for {metric} quota in VM."


HOST, CAPACITY, QUOTA = Reason.NO_MATCHING_HOST, Reason.NO_CAPACITY, Reason.QUOTA
FULL = "no host has enough free CPU and memory"
DISPATCH = f"{DATE}Cannot dispatch VM: "


@pytest.mark.parametrize(
    ("message", "text", "reason"),
    [
        (f"{SCHEDULER} & ( ENERGY=50 )", "no host satisfies ENERGY=50", HOST),
        (f"{SCHEDULER} & ( (A > 1) & (B < 2) )", "no host satisfies (A > 1) & (B < 2)", HOST),
        (SCHEDULER, FULL, CAPACITY),
        (f"{DISPATCH}No host with enough capacity to deploy the VM", FULL, CAPACITY),
        (f"{DATE}[HOST] Not enough CPU on hosts: 0,1", FULL, CAPACITY),
        (f"{DISPATCH}No host meets SCHED_REQUIREMENTS", UNNAMED_REQUIREMENTS, HOST),
        (
            f"{DATE}Error in SCHED_REQUIREMENTS: 'A >> 1', error: syntax error",
            "the requirements cannot be parsed",
            HOST,
        ),
        (f"{ROLE}User [2] : {limit(1, 'VMS')}", "user quota of 1 VM reached", QUOTA),
        (limit(2, "VMS"), "user quota of 2 VMs reached", QUOTA),
        (limit(4, "CPU", "group [1]"), "group quota of 4 cores reached", QUOTA),
        (limit(512, "MEMORY"), "user quota of 512 MB of memory reached", QUOTA),
        (limit(1, "RUNNING_VMS"), "user quota of 1 running VM reached", QUOTA),
        (limit(7, "LEASES"), "user quota of 7 LEASES reached", QUOTA),
        (
            f"{ROLE}Error getting virtual machine template [999].",
            "VM template 999 does not exist",
            None,
        ),
        (
            f"{ROLE}User [2] : Not authorized to perform USE TEMPLATE [2].",
            "the user may not use VM template 2",
            None,
        ),
        (f"{ROLE}{NO_TEMPLATE}", NO_TEMPLATE, None),
        (f"{DATE}DEPLOY: host00: dummy", "DEPLOY: host00: dummy", None),
        ("{0} {what} %s", "{0} {what} %s", None),
        ("", "", None),
    ],
)
def test_a_message_becomes_words_and_a_reason(
    message: str, text: str, reason: Reason | None
) -> None:
    assert explain(message) == Explanation(text, reason)
