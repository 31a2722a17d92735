"""Evaluations in a browser: the list, an answer with its charts, a difference, two reports; also on a phone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import DESK, PHONE, NewContext
from tests.engine.sample_purchase import sample_difference
from tests.webapi.test_api_evaluations import guard, planned, reported
from webapi.models import Classifier, User

__all__ = ["guard"]
pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
FITS = """() => document.documentElement.scrollWidth <= innerWidth
    && [...document.querySelectorAll('.scroll')].every(one => one.scrollWidth <= one.clientWidth + 1)"""


@pytest.mark.parametrize("viewport", [DESK, PHONE])
def test_every_page_fits_and_draws_its_charts(
    viewport: dict[str, int], guard: Classifier, rita: User, signed_in: NewContext, faults: Callable[[Page], list[str]]
) -> None:
    first = reported(guard, "failure rate of the guard, by a long name")
    second = reported(guard, "second", confirmed=0)
    apart = reported(guard, "apart", sample_difference())
    waits = planned(guard, name="waits", kind="difference", plan=sample_difference()["plan"])
    page = signed_in(rita, viewport=viewport).new_page()
    heard = faults(page)
    for address in (
        "/evaluations/",
        f"/evaluations/{waits.pk}/",
        f"/evaluations/{waits.pk}/cancel/",
        f"/evaluations/diff/?a={first.pk}&b={second.pk}",
    ):
        page.goto(address)
        assert page.evaluate(FITS), address
    for row, charts in ((first, 3), (apart, 3)):
        page.goto(f"/evaluations/{row.pk}/")
        expect(page.locator(".report [data-chart] .main-svg").first).to_be_visible()
        assert page.locator(".report [data-chart]").count() == charts
        assert page.evaluate(FITS), row.name
    assert heard == []


def test_from_the_list_to_a_report_and_beside_another(guard: Classifier, rita: User, signed_in: NewContext) -> None:
    reported(guard, "first")
    reported(guard, "second", confirmed=0)
    page = signed_in(rita).new_page()
    page.goto("/evaluations/")
    page.get_by_role("link", name="second").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("No failure among 40 outputs")
    page.get_by_label("Beside another").select_option(label="first")
    page.get_by_role("button", name="Show where they differ").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Where the two reports differ.")
    expect(page.get_by_role("row", name="confirmed")).to_contain_text("4")


def test_the_labels_of_a_plan_are_bought_by_a_press(guard: Classifier, rita: User, signed_in: NewContext) -> None:
    row = planned(guard)
    page = signed_in(rita).new_page()
    page.goto(f"/evaluations/{row.pk}/")
    page.get_by_role("button", name="Buy the labels").click()
    expect(page.get_by_text("Labels are being bought.")).to_be_visible()
    row.refresh_from_db()
    assert row.state == "labelling"
