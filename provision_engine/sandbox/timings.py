"""How long things take in the sandbox. All durations are seconds and may be 0."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Timings:
    """Durations of the steps of a VM's and a service's life, realistic but quick by default."""

    vms_visible_seconds: float = 0.05
    """From the answer to instantiate until oneflow has made the VMs."""
    schedule_seconds: float = 0.05
    """From a VM's birth until the scheduler looks at it; 7.x collects VMs in such a window."""
    prolog_seconds: float = 0.1
    boot_seconds: float = 0.1
    boot_failure_seconds: float = 0.1
    """Until a driver that fails to boot says so."""
    resize_seconds: float = 0.04
    disk_resize_seconds: float = 0.04
    poweroff_seconds: float = 0.04
    save_seconds: float = 0.04
    """Of a suspend or a stop, which save the VM's memory."""
    resume_seconds: float = 0.05
    shutdown_seconds: float = 0.05
    epilog_seconds: float = 0.0
    cleanup_seconds: float = 0.0
    """From terminate of a VM that failed until it is DONE."""
    service_notice_seconds: float = 0.02
    """From a VM's change of state until oneflow has noticed it."""
    service_failure_seconds: float = 0.1
    """From a VM's failure while a service deploys until the service is FAILED_DEPLOYING."""
    nets_seconds: float = 0.03
    """How long a service stays in UNDEPLOYING_NETS before its document is gone."""
    sched_action_seconds: float = 0.0
    """How late a scheduled action is carried out."""
    action_retry_seconds: float = 0.5
    """Until a scheduled action that was not possible is tried again: oned's cycle."""
    scheduler_failure_seconds: float = 0.5
    """Until the scheduler is asked again after oned refused its plan (7.x)."""

    @classmethod
    def measured(cls, release: str) -> Timings:
        """As on the machine of the recordings: medians of what the scenarios show.

        VM ids are there 0.2 s after the answer (shared by create-faas, oned-view-of-flow and
        hostile-values-through-oneflow); 7.x schedules in a window of up to 10 s (create-faas);
        oneflow takes up to 30 s to see that a VM failed to boot (vm-boot-failure); a scheduled
        action is 3 to 4 s late (lease-by-scheduled-action) and tried again every 15 s
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
