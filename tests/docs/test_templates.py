"""The flow templates that the operator's guide shows make a flavour, in each dialect."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.client import Device, Json
from tests.support.opennebula import OpenNebula
from tests.support.users import ADMINISTRATOR

from .pages import ROOT, blocks, running_site


def shown(mark: str) -> Json:
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    (found,) = (block for block in blocks(page) if block.words == ("json", mark))
    template: Json = json.loads(found.text)
    return template


@pytest.mark.parametrize(("release", "mark"), [("6.8.0", "flow-6"), ("7.4.0", "flow-7")])
def test_each_template_of_the_guide_is_a_flavour(release: str, mark: str, tmp_path: Path) -> None:
    template = shown(mark)
    with running_site(tmp_path, release) as site:
        urls = site.sandbox.oned_url, site.sandbox.oneflow_url
        admin = OpenNebula(*urls, ADMINISTRATOR)
        made = admin.flow("POST", "/service_template", **template).json()["DOCUMENT"]
        allow = {"perform": "chmod", "params": {"octet": "644"}}
        admin.flow("POST", f"/service_template/{made['ID']}/action", action=allow)
        runtime = Device(site.engine_url).create_running(FAAS={"FLAVOUR": template["name"]})
    assert runtime["FAAS"]["ENDPOINT"]
