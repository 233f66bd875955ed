"""The two dialects of OpenNebula: a table of every difference between 6.x and 7.x."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple


class Inputs(NamedTuple):
    """How oneflow names user inputs, in flow templates and in its errors."""

    key: str
    values_key: str
    of_service: str
    of_role: str
    single: str
    wrong: str


@dataclass(frozen=True)
class Release:
    """The behaviour of a release. Source: the two recordings, compared scenario by scenario."""

    version: str
    role_template_key: str
    """The member of a role that names its VM template."""
    role_contents_key: str
    """The member of a role's merge that holds its own VM attributes."""
    inputs: Inputs
    """User inputs of flow templates."""
    contents_are_object: bool
    """Are those attributes a JSON object? (If not, a string in template syntax.)"""
    role_has_type: bool
    role_defaults: tuple[tuple[str, object], ...]
    """What a role gets when its deployment begins, in the order of its members."""
    missing_key_text: str
    """oneflow's error for a body or a role (`given`) without a mandatory key of that kind."""
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
    drops_actions_of_undeployed: bool
    """Does a VM that ends before it was ever on a host lose its scheduled actions?"""
    scheddelete_returns_vm: bool
    """Does one.vm.scheddelete return the id of the VM? (If not, that of the action.)"""
    scheduled_action_noun: str
    strips_names: bool
    """Is a new object's name stripped of leading and trailing blanks?"""
    group_names_hold_blanks: bool
    group_has_vlan_rules: bool
    writes_features_in_capitals: bool
    restricts_raw: bool
    """Is DATA of RAW restricted? (RAW as a whole, as 6.x has it, restricts nothing.)"""
    pci_has_address: bool
    """Has a PCI device of a VM an address before it is placed?"""
    q35_has_sata: bool
    """Is CONTEXT a SATA disk where the machine is a q35?"""
    size_errors_are_quotas: bool
    """Are invalid sizes of a VM reported by the check of the quotas?"""
    clone_fails_to_allocate: bool
    """Has the error of a clone with an invalid name the code of a failed allocation?"""
    clone_needs_use: bool
    """Does a clone need the right to use the object? (From 7.2 to 7.4 only that to create one.)"""
    shows_group_whole: bool
    """Does the filter of the primary group ignore permissions? (Up to 6.10.3 it does.)"""
    trims_values: bool
    """Is each value of a template stripped of leading and trailing blanks?"""
    checks_info_flags: bool
    """Does an info method check the type of the flag with which secrets are shown?"""
    takes_any_session: bool
    """Is a session of another type than string one that is wrong? (If not, a fault.)"""


_SIX = Release(
    version="6.8.0",
    role_template_key="vm_template",
    role_contents_key="vm_template_contents",
    inputs=Inputs(
        key="custom_attrs",
        values_key="custom_attrs_values",
        of_service="custom attributes",
        of_role="custom attributes",
        single="custom attribute",
        wrong="Wrong custom_attrs or custom_attrs_values format",
    ),
    contents_are_object=False,
    role_has_type=False,
    role_defaults=(("cooldown", 300), ("nodes", []), ("on_hold", False)),
    missing_key_text="KEY: '{key}' is required;",
    merges_roles_by_name=False,
    first_flow_template_id=0,
    network_id=1,
    automatic_requirements="!(PUBLIC_CLOUD = YES) & !(PIN_POLICY = PINNED)",
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
    drops_actions_of_undeployed=False,
    scheddelete_returns_vm=False,
    scheduled_action_noun="-",
    strips_names=False,
    group_names_hold_blanks=True,
    group_has_vlan_rules=False,
    writes_features_in_capitals=False,
    restricts_raw=False,
    pci_has_address=True,
    q35_has_sata=False,
    size_errors_are_quotas=True,
    clone_fails_to_allocate=True,
    clone_needs_use=True,
    shows_group_whole=True,
    trims_values=False,
    checks_info_flags=False,
    takes_any_session=False,
)
_SEVEN = Release(
    version="7.4.0",
    role_template_key="template_id",
    role_contents_key="template_contents",
    inputs=Inputs(
        key="user_inputs",
        values_key="user_inputs_values",
        of_service="User Inputs",
        of_role="user inputs",
        single="User Input",
        wrong="Wrong User Inputs or User Inputs Values format",
    ),
    contents_are_object=True,
    role_has_type=True,
    role_defaults=(("nodes", []), ("on_hold", False), ("cooldown", 300)),
    missing_key_text="Mandatory document key '{key} ({kind})' is missing from {given}",
    merges_roles_by_name=True,
    first_flow_template_id=6,
    network_id=0,
    automatic_requirements="!(PIN_POLICY = PINNED)",
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
    drops_actions_of_undeployed=True,
    scheddelete_returns_vm=True,
    scheduled_action_noun="scheduled action",
    strips_names=True,
    group_names_hold_blanks=False,
    group_has_vlan_rules=True,
    writes_features_in_capitals=True,
    restricts_raw=True,
    pci_has_address=False,
    q35_has_sata=True,
    size_errors_are_quotas=False,
    clone_fails_to_allocate=False,
    clone_needs_use=False,
    shows_group_whole=False,
    trims_values=True,
    checks_info_flags=True,
    takes_any_session=True,
)


def release(version: str) -> Release:
    """The behaviour of a version; ValueError if it is neither 6.x nor 7.x."""
    for base in (_SIX, _SEVEN):
        if version.split(".")[0] == base.version.split(".")[0]:
            return replace(base, version=version)
    raise ValueError(f"release: {version!r} is unknown, allowed are 6.x.y and 7.x.y")
