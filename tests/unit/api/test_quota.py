"""The caller's quota as JSON."""

from __future__ import annotations

from lxml import etree

from provision_engine.api import representation
from provision_engine.cloud.objects import Quota


def read(limits: str, defaults: str = "") -> dict[str, object]:
    xml = (
        f"<USER><VM_QUOTA><VM>{limits}</VM></VM_QUOTA><DEFAULT_USER_QUOTAS>"
        f"<VM_QUOTA><VM>{defaults}</VM></VM_QUOTA></DEFAULT_USER_QUOTAS></USER>"
    )
    return representation.quota(Quota.from_xml(etree.fromstring(xml)))


def test_limits_and_usage_are_numbers_and_no_limit_is_null() -> None:
    rendered = read(
        "<VMS>4</VMS><VMS_USED>1</VMS_USED><CPU>2.5</CPU><CPU_USED>0.5</CPU_USED>"
        "<MEMORY>-1</MEMORY><MEMORY_USED>128</MEMORY_USED>"
    )
    assert rendered == {
        "VMS": {"LIMIT": 4, "USED": 1},
        "CPU": {"LIMIT": 2.5, "USED": 0.5},
        "MEMORY": {"LIMIT": None, "USED": 128},
        "SYSTEM_DISK_SIZE": {"LIMIT": None, "USED": 0},
    }
    assert isinstance(rendered["VMS"]["LIMIT"], int)  # type: ignore[index]


def test_the_default_of_the_cloud_counts_where_the_user_has_no_limit_of_its_own() -> None:
    rendered = read("<VMS>-2</VMS><CPU>0</CPU>", "<VMS>7</VMS><CPU>9</CPU>")
    assert rendered["VMS"] == {"LIMIT": 7, "USED": 0}
    assert rendered["CPU"] == {"LIMIT": 0, "USED": 0}
