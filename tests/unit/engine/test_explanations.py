"""OpenNebula's messages, explained for people. The messages are those of the recordings."""

from __future__ import annotations

import pytest

from provision_engine.engine.runtime.explanations import Explanation, Reason, explain

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


@pytest.mark.parametrize(
    ("message", "text", "reason"),
    [
        (
            f"{SCHEDULER} & ( ENERGY=50 )",
            "no host satisfies ENERGY=50",
            Reason.NO_MATCHING_HOST,
        ),
        (
            f"{SCHEDULER} & ( (A > 1) & (B < 2) )",
            "no host satisfies (A > 1) & (B < 2)",
            Reason.NO_MATCHING_HOST,
        ),
        (SCHEDULER, "no host has enough free CPU and memory", Reason.NO_CAPACITY),
        (
            f"{DATE}Cannot dispatch VM: No host with enough capacity to deploy the VM",
            "no host has enough free CPU and memory",
            Reason.NO_CAPACITY,
        ),
        (
            f"{DATE}[HOST] Not enough CPU on hosts: 0,1",
            "no host has enough free CPU and memory",
            Reason.NO_CAPACITY,
        ),
        (
            f"{DATE}Cannot dispatch VM: No host meets SCHED_REQUIREMENTS",
            "no host satisfies the requirements",
            Reason.NO_MATCHING_HOST,
        ),
        (
            f"{DATE}Error in SCHED_REQUIREMENTS: 'A >> 1', error: syntax error",
            "the requirements cannot be parsed",
            Reason.NO_MATCHING_HOST,
        ),
        (
            f"{ROLE}User [2] : user [2] limit of 1 reached for VMS quota in VM.",
            "user quota of 1 VM reached",
            Reason.QUOTA,
        ),
        (
            "user [2] limit of 2 reached for VMS quota in VM.",
            "user quota of 2 VMs reached",
            Reason.QUOTA,
        ),
        (
            "group [1] limit of 4 reached for CPU quota in VM.",
            "group quota of 4 cores reached",
            Reason.QUOTA,
        ),
        (
            "user [2] limit of 512 reached for MEMORY quota in VM.",
            "user quota of 512 MB of memory reached",
            Reason.QUOTA,
        ),
        (
            "user [2] limit of 1 reached for RUNNING_VMS quota in VM.",
            "user quota of 1 running VM reached",
            Reason.QUOTA,
        ),
        (
            "user [2] limit of 7 reached for LEASES quota in NETWORK.",
            "user quota of 7 LEASES reached",
            Reason.QUOTA,
        ),
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
