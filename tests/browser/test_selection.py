"""A round's selection in a browser: the map is drawn, tells and leads to snippets; the page fits a phone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import PHONE, NewContext
from tests.selecting import run_stage, scored_round
from tests.workers.bag_encoder import BagEncoder
from webapi.models import Policy, Round, User
from workers import index_shards
from workers.index_shards import Loaded
from workers.select import select

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def chosen(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> Round:
    made = BagEncoder()
    monkeypatch.setattr(index_shards, "_loaded", lambda name, precision: Loaded(made, "first version"))
    round_ = scored_round(policy, candidates=300, finds=100, labelled=120)
    run_stage(round_, "select", select)
    return round_


def test_the_map_is_drawn_and_leads_to_a_snippet(
    rita: User, chosen: Round, signed_in: NewContext, faults: Callable[[Page], list[str]]
) -> None:
    page = signed_in(rita).new_page()
    heard = faults(page)
    page.goto(f"/rounds/{chosen.pk}/selection/")
    expect(page.locator(".legend .traces")).to_have_count(5)
    expect(page.locator(".legend")).to_contain_text("chosen, 17")
    expect(page.locator(".legend")).to_contain_text("chosen by chance, 1")
    assert page.locator(".scatterlayer .trace").count() == 5
    # The star lies on top of all and is the only one of its kind.
    star = page.locator(".scatterlayer .trace").last.locator("path.point")
    expect(star).to_have_count(1)
    box = star.bounding_box()
    assert box is not None
    at = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.move(*at)
    expect(page.locator(".hoverlayer")).to_contain_text("Drawn by chance")
    page.mouse.click(*at)
    page.wait_for_url("**/snippets/*/")
    assert heard == []


def test_the_list_is_narrowed_by_form_and_link(rita: User, chosen: Round, signed_in: NewContext) -> None:
    page = signed_in(rita).new_page()
    page.goto(f"/rounds/{chosen.pk}/selection/")
    page.get_by_label("Why").select_option("random")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("tbody tr")).to_have_count(1)
    page.get_by_role("link", name="Clear").click()
    page.get_by_role("link", name="left out though they are worth more").click()
    expect(page.locator("#t-list")).to_have_text("What the highest values alone would have taken")
    page.go_back()
    page.get_by_role("link", name="Further").click()
    expect(page.get_by_role("link", name="Back")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone(rita: User, chosen: Round, signed_in: NewContext, scheme: str) -> None:
    page = signed_in(rita, viewport=PHONE, color_scheme=scheme).new_page()
    page.goto(f"/rounds/{chosen.pk}/selection/")
    expect(page.locator(".scatterlayer .trace").first).to_be_attached()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    plot = page.locator(".chart").bounding_box()
    assert plot is not None
    assert plot["width"] <= 360
