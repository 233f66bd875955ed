"""The two dialects of OpenNebula: a table of every difference between 6.x and 7.x."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Release:
    """The behaviour of a release. Source: the two recordings, compared scenario by scenario."""

    version: str
    role_template_key: str
    """The member of a role that names its VM template."""
    role_contents_key: str
    """The member of a role's merge that holds its own VM attributes."""
    contents_are_object: bool
    """Are those attributes a JSON object? (If not, a string in template syntax.)"""
    role_has_type: bool
    merges_roles_by_name: bool
    """If not, by position, which even renames a role (scenario instantiate-errors)."""
    first_flow_template_id: int
    network_id: int
    automatic_requirements: str
    disk_extra: tuple[tuple[str, str], ...]
    context_extra: tuple[str, ...]
    history_has_plan: bool
    resize_makes_history: bool
    """Does a resize close the history record, as a disk resize always does?"""
    addresses_only_grow: bool
    """Is the next lease the address after the last one? (If not, the lowest free one.)"""
    diskresize_returns_vm: bool
    """Does one.vm.diskresize return the id of the VM? (If not, that of the disk.)"""
    sched_action_has_warning: bool
    scheduled_has_request_id: bool
    """Does the history of a VM ended by a scheduled action contain a request id?"""
    quota_has_pci: bool
    errors_are_json: bool
    echo_stops_scheduler: bool
    """Does a rank with a character unknown to its scanner stop all scheduling?"""
    messages_are_cut: bool
    """Is SCHED_MESSAGE cut after 100 characters?"""
    schedules_for_done: bool
    """May scheduled actions be added to a VM that is DONE?"""
    scheddelete_returns_vm: bool
    """Does one.vm.scheddelete return the id of the VM? (If not, that of the action.)"""
    scheduled_action_noun: str
    strips_names: bool
    """Is a new object's name stripped of leading and trailing blanks?"""
    shows_group_whole: bool
    """Does the filter of the primary group ignore permissions? (Up to 6.10.3 it does.)"""
    trims_values: bool
    """Is each value of a template stripped of leading and trailing blanks?"""


_SIX = Release(
    version="6.8.0",
    role_template_key="vm_template",
    role_contents_key="vm_template_contents",
    contents_are_object=False,
    role_has_type=False,
    merges_roles_by_name=False,
    first_flow_template_id=0,
    network_id=1,
    automatic_requirements="(CLUSTER_ID = 0) & !(PUBLIC_CLOUD = YES) & !(PIN_POLICY = PINNED)",
    disk_extra=(),
    context_extra=(),
    history_has_plan=False,
    resize_makes_history=False,
    addresses_only_grow=False,
    diskresize_returns_vm=False,
    sched_action_has_warning=False,
    scheduled_has_request_id=False,
    quota_has_pci=False,
    errors_are_json=False,
    echo_stops_scheduler=False,
    messages_are_cut=False,
    schedules_for_done=True,
    scheddelete_returns_vm=False,
    scheduled_action_noun="-",
    strips_names=False,
    shows_group_whole=True,
    trims_values=False,
)
_SEVEN = Release(
    version="7.4.0",
    role_template_key="template_id",
    role_contents_key="template_contents",
    contents_are_object=True,
    role_has_type=True,
    merges_roles_by_name=True,
    first_flow_template_id=6,
    network_id=0,
    automatic_requirements="(CLUSTER_ID = 0) & !(PIN_POLICY = PINNED)",
    disk_extra=(("PERSISTENT_SNAPSHOTS", "YES"),),
    context_extra=("ROUTES",),
    history_has_plan=True,
    resize_makes_history=True,
    addresses_only_grow=True,
    diskresize_returns_vm=True,
    sched_action_has_warning=True,
    scheduled_has_request_id=True,
    quota_has_pci=True,
    errors_are_json=True,
    echo_stops_scheduler=True,
    messages_are_cut=True,
    schedules_for_done=False,
    scheddelete_returns_vm=True,
    scheduled_action_noun="scheduled action",
    strips_names=True,
    shows_group_whole=False,
    trims_values=True,
)


def release(version: str) -> Release:
    """The behaviour of a version; ValueError if it is neither 6.x nor 7.x."""
    for base in (_SIX, _SEVEN):
        if version.split(".")[0] == base.version.split(".")[0]:
            return replace(base, version=version)
    raise ValueError(f"release: {version!r} is unknown, allowed are 6.x.y and 7.x.y")
