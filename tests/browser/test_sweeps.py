"""Sweeps and comparisons in Chromium: charts are drawn, nothing runs off a phone, nothing complains."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import DESK, PHONE, NewContext
from tests.sweeping import ended, new_sweep, sweepable
from tests.webapi.attack_rows import classifier_of
from webapi.models import Classifier, Policy, Score, Snippet, User
from webapi.services.promotions import classifier_promote

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
LOOKS = [(DESK, "light"), (DESK, "dark"), (PHONE, "light")]


def look(page: Page, name: str) -> None:
    """Keeps a picture where somebody wants to look."""
    if folder := os.environ.get("PICTURES"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def fits(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


@pytest.mark.parametrize(("viewport", "scheme"), LOOKS)
def test_a_sweep_and_its_classifier(
    policy: Policy,
    gauntlet_home: Path,
    rita: User,
    signed_in: NewContext,
    faults: Callable[[Page], list[str]],
    viewport: Any,
    scheme: str,
) -> None:
    snapshot = sweepable(policy, gauntlet_home, gauntlet_home / "none")
    sweep = ended(new_sweep(snapshot), (3, 1), (1, 4), None, (2, 2))
    picked = Classifier.objects.get(condition="sweep")
    other = classifier_of(policy, "Round 1 baseline", snapshot=snapshot, recipe={**picked.recipe, "epochs": 7})
    for n, snippet in enumerate(Snippet.objects.all()):
        for row, logit in ((picked, n % 3 - 1), (other, n % 4 - 1.5)):
            Score.objects.create(classifier=row, snippet=snippet, logit=logit)
    for row in (other, picked):
        classifier_promote(classifier=row, by=rita, note="held up in the audit")
    page = signed_in(rita, viewport=viewport, color_scheme=scheme).new_page()
    heard, mark = faults(page), f"{viewport['width']}-{scheme}"
    page.goto(f"/sweeps/{sweep.pk}/")
    expect(page.locator(".chart .main-svg").first).to_be_visible()
    expect(page.locator(".chart")).to_have_count(2)
    look(page, f"sweep-{mark}")
    assert fits(page)
    page.goto(f"/classifiers/{picked.pk}/")
    expect(page.get_by_text("labels by")).to_be_visible()
    look(page, f"classifier-{mark}")
    assert fits(page)
    page.goto(f"/classifiers/compare/?a={picked.pk}&b={other.pk}")
    expect(page.get_by_role("heading", level=1)).to_contain_text("decide alike on")
    look(page, f"compare-{mark}")
    assert fits(page)
    page.goto("/classifiers/")
    look(page, f"classifiers-{mark}")
    assert fits(page)
    assert heard == []
