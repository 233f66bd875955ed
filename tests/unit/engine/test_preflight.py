"""What ``/flavours`` and ``check`` say of templates that others may change."""

from __future__ import annotations

import pytest

from provision_engine.cloud.objects import Document, VmTemplate, parse


@pytest.mark.parametrize(
    ("group_id", "group_m", "other_m", "expected"),
    [(1, 0, 0, False), (1, 1, 0, True), (0, 1, 0, False), (1, 0, 1, True), (0, 0, 1, True)],
)
@pytest.mark.parametrize("kind", [Document, VmTemplate])
def test_a_template_that_others_may_change_is_told_from_its_permissions(
    kind: type[Document] | type[VmTemplate],
    group_id: int,
    group_m: int,
    other_m: int,
    expected: bool,
) -> None:
    xml = (
        f"<X><ID>1</ID><UID>2</UID><GID>{group_id}</GID><NAME>n</NAME><TYPE>101</TYPE><PERMISSIONS>"
        f"<OWNER_M>1</OWNER_M><GROUP_M>{group_m}</GROUP_M><OTHER_M>{other_m}</OTHER_M>"
        "</PERMISSIONS><TEMPLATE/></X>"
    )
    assert kind.from_xml(parse(xml)).others_may_change is expected
