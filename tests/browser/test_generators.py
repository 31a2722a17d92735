"""Generators in a browser: the curve is drawn, the form samples, and all of it fits a phone."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import PHONE, NewContext
from tests.people import weights
from tests.tuning import small_corpus
from tests.webapi.test_pages_generators import ready
from webapi.models import Classifier, Policy, User
from webapi.pages import generators as pages
from webapi.services.classifiers import Scored
from webapi.services.generators import SampledText
from webapi.services.promotions import classifier_promote

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_a_generator_is_looked_at_and_sampled(
    rita: User, policy: Policy, gauntlet_home: Path, signed_in: NewContext, monkeypatch: pytest.MonkeyPatch,
    faults: Callable[[Page], list[str]],
) -> None:  # fmt: skip
    ready(small_corpus(gauntlet_home, 4), "fairy tales")
    guard = Classifier.objects.create(
        policy=policy, name="guard", condition="b", encoder="e", threshold=0.2,
        artifact=weights(),
    )  # fmt: skip
    classifier_promote(classifier=guard)
    plain = [SampledText("The beam fell on her arm and broke it.", 1, None, None)] * 2
    kept = [SampledText("She woke and went down to the mill.", 3, 0.05, -2.9), SampledText(None, 25, None, None)]
    monkeypatch.setattr(pages, "generator_sample", lambda *, classifier, **_: [plain if classifier is None else kept])
    monkeypatch.setattr(pages, "classifier_score", lambda **_: [Scored(0.9, 2.2, True), Scored(0.1, -2.2, False)])
    for name, options in LOOKS.items():
        page = signed_in(rita, **options).new_page()
        heard = faults(page)
        page.goto("/generators/")
        expect(page.locator("h1")).to_have_text("fairy tales is tuned.")
        fits(page, f"list-{name}")
        page.get_by_role("link", name="fairy tales").click()
        expect(page.locator(".chart .main-svg").first).to_be_visible(timeout=60_000)
        page.get_by_label("Prompt").fill("She lay down. The roof creaked. It was dark.")
        page.get_by_role("button", name="Sample").click()
        expect(page.get_by_role("heading", name="Filter on")).to_be_visible()
        expect(page.get_by_text("all 25 proposals were rejected")).to_be_visible()
        expect(page.get_by_label("Prompt")).to_have_value("She lay down. The roof creaked. It was dark.")
        expect(page.locator(".chart .main-svg").first).to_be_visible(timeout=60_000)
        fits(page, f"one-{name}")
        assert heard == []


LOOKS = {"light": {"color_scheme": "light"}, "dark": {"color_scheme": "dark"}, "phone": {"viewport": PHONE}}


def fits(page: Page, name: str) -> None:
    """Nothing sticks out sideways."""
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    if folder := os.environ.get("SHOTS"):
        page.screenshot(path=f"{folder}/{name}.png", full_page=True)
