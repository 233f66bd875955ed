"""How long each step takes in the sandbox. All durations are in seconds and may be 0."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Timings:
    """Durations of the steps of VMs and services; by default shorter than on a real OpenNebula."""

    vms_visible_seconds: float = 0.05
    """From the response to instantiate until oneflow has created the VMs."""
    schedule_seconds: float = 0.05
    """From a VM's creation until it is scheduled; 7.x collects VMs in such a window."""
    prolog_seconds: float = 0.1
    boot_seconds: float = 0.1
    boot_failure_seconds: float = 0.1
    """How long a boot takes that fails."""
    resize_seconds: float = 0.04
    disk_resize_seconds: float = 0.04
    poweroff_seconds: float = 0.04
    save_seconds: float = 0.04
    """How long a suspend or a stop takes, which save the VM's memory."""
    resume_seconds: float = 0.05
    shutdown_seconds: float = 0.05
    epilog_seconds: float = 0.0
    cleanup_seconds: float = 0.0
    """From the termination of a failed VM until it is DONE."""
    service_notice_seconds: float = 0.02
    """From a VM's change of state until oneflow notices it."""
    service_failure_seconds: float = 0.1
    """From a VM's failure while a service deploys until the service is FAILED_DEPLOYING."""
    autoscale_seconds: float = 30.0
    """From the end of a VM of a running service until oneflow replaces it."""
    nets_seconds: float = 0.03
    """How long a service is in UNDEPLOYING_NETS before its document is deleted."""
    sched_action_seconds: float = 0.0
    """From the time of a scheduled action until it is carried out."""
    action_retry_seconds: float = 0.5
    """Until a scheduled action that failed is retried: oned's cycle."""
    scheduler_failure_seconds: float = 0.5
    """Until the scheduler runs again after oned rejected its plan (7.x)."""

    @classmethod
    def measured(cls, release: str) -> Timings:
        """The durations on the recorded machine: medians over the scenarios.

        VM ids appear 0.2 s after the response (create-faas, oned-view-of-flow and
        hostile-values-through-oneflow); 7.x schedules in a window of up to 10 s (create-faas);
        oneflow takes up to 30 s to notice that a VM failed to boot (vm-boot-failure); a scheduled
        action is 3 to 4 s late (lease-by-scheduled-action) and retried every 15 s
        (order-to-end-while-booting).
        """
        return cls(
            vms_visible_seconds=0.2,
            schedule_seconds=10.0 if release.startswith("7") else 0.25,
            prolog_seconds=0.05,
            boot_seconds=0.05,
            boot_failure_seconds=0.05,
            resize_seconds=0.01,
            disk_resize_seconds=0.2 if release.startswith("6") else 0.005,
            poweroff_seconds=0.2,
            save_seconds=0.02,
            resume_seconds=0.3,
            shutdown_seconds=0.1,
            service_notice_seconds=0.25,
            service_failure_seconds=30.0,
            nets_seconds=0.2,
            sched_action_seconds=3.0,
            action_retry_seconds=15.0,
            scheduler_failure_seconds=60.0,
        )
