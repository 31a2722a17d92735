"""A report of an evaluation that bought labels, with figures that go together."""

from __future__ import annotations

import numpy as np

from engine.evaluation.chained import chained, split_level
from engine.evaluation.designs import LabelPlan
from engine.evaluation.difference import difference
from engine.evaluation.difference_power import smallest_by_pairs
from engine.evaluation.differing import NAME, TITLE, WHAT, tiers_of, turned
from engine.evaluation.differing_outputs import NAME as OUTPUTS
from engine.evaluation.differing_outputs import TITLE as OUTPUTS_TITLE
from engine.evaluation.label_error import Labeler, effect_on_difference, label_effect
from engine.evaluation.purchase_data import SIGNS, PurchaseReport
from engine.evaluation.rates import Rate, clopper_pearson

PLAN = LabelPlan("simple_random", "Simple random sampling", 40, 40, 40, 52, 4.0, 17, 2.6, 0.2, True, 0.5, (), "As is.")


def sample_purchase(*, name: str = "first", confirmed: int = 4) -> PurchaseReport:
    """40 outputs labelled, of which so many are confirmed failures and two more were not."""
    rate = clopper_pearson(confirmed, 40).as_dict()
    example = {
        "snippet": "1",
        "prompt": "It <b>began</b>.",
        "completion": "He fell.",
        "logit": -3.25,
        "labels": ["Yes"] * 3,
    }
    return PurchaseReport(
        id="0" * 32,
        name=name,
        kind="failure_rate",
        created_at="2026-11-27T12:00:00Z",
        policy="harm v1",
        question="Was anyone harmed?",
        failure="Yes",
        notice="The labels are recorded answers of a crowd, given back one by one: nobody judged anew.",
        subject={"id": "1", "name": "guard", "condition": "baseline", "encoder": "minilm", "threshold": 0.04},
        against=None,
        second=None,
        asked={
            "design": "simple_random",
            "title": "Simple random sampling",
            "what": "Outputs are drawn at random, a fixed number of them.",
            "relative": 0.5,
            "level": 0.95,
            "labels_each": 1,
            "confirmations": 2,
            "confirmed_by": "all",
            "source": "round",
            "tries": 100,
            "seed": 0,
        },
        plan={
            "chosen": PLAN.as_dict(),
            "designs": {"simple_random": PLAN.as_dict(), "stratified": {"error": "none", "design": "stratified"}},
            "outputs": {"size": 90, "prompts": 100, "without": 10, "alike": 0},
            "pilot": None,
            "guess": 0.1,
        },
        tiers={"certificate": rate, "estimate": rate, "forecast": None, "notes": ["Nothing else is assumed."]},
        difference=None,
        bought={
            "outputs": 40,
            "sent": 40,
            "snippets": 39,
            "labels": 52,
            "had": 0,
            "annotators": 7,
            "seconds": 780.0,
            "money": 2.6,
            "planned": 52,
            "pilot": 0,
        },
        confirming={
            "suspected": confirmed + 2,
            "confirmed": confirmed,
            "alone": 1,
            "unconfirmed": clopper_pearson(confirmed + 2, 40).as_dict(),
        },
        label_error={
            "assumed_by": "confirmations",
            "shown": clopper_pearson(2, 40 - confirmed).as_dict(),
            "effect": label_effect(clopper_pearson(confirmed, 40), Labeler(1.0, 1 - 2 / (40 - confirmed))).as_dict(),
        },
        logits={"edges": [-6.0, -5.0, -4.0, -3.2], "counts": [10, 50, 30]},
        failures=[example] * min(confirmed, 4),  # type: ignore[list-item]
        false_positives=[],
        lineage={
            "classifier": "1",
            "weights": "ab" * 32,
            "snapshot": None,
            "policy": "cd" * 32,
            "outputs": "ef" * 32,
            "round": None,
            "parent": None,
            "batches": [
                {"id": "2", "name": "labels 001 of first", "adapter": "recorded", "labels": 52, "bought": True}
            ],
            "annotators": 7,
            "simulated": 0,
        },
    )


def sample_difference(*, name: str = "apart", old: int = 6, new: int = 1, linked: bool = True) -> PurchaseReport:
    """Two filters over 500 prompts that answer differently at 40, all labelled: at `old` only the other fails, at `new`
    only this one, at two both."""
    first = np.arange(40) < old + 2
    second = (np.arange(40) < 2) | (np.arange(40) >= 40 - new)
    found = difference(first, second, differing=40, prompts=500)
    level = split_level(0.95, 2)
    step = difference(first, second, differing=40, prompts=500, level=level)
    certified = chained(clopper_pearson(12, 500, level=level), [step]) if linked else None
    report = sample_purchase(name=name)
    plan = PLAN._replace(design=NAME, title=TITLE, floor=0).as_dict()
    tests = {**plan, "design": "two_tests", "title": "Two separate tests", "labels": 753}
    report.update(
        kind="difference",
        against={"id": "2", "name": "elder", "condition": "baseline", "encoder": "minilm", "threshold": 0.05},
        asked={**report["asked"], "design": NAME, "title": TITLE, "what": WHAT},
        plan={**report["plan"], "chosen": plan, "designs": {NAME: plan, "two_tests": tests}},
        tiers=tiers_of(found).as_dict(),
        label_error={
            "assumed_by": "settings",
            "shown": clopper_pearson(2, 71).as_dict(),
            "effect": effect_on_difference(turned(found.difference), Labeler(0.9, 0.99)).as_dict(),
        },
        difference={
            "found": found.as_dict(),
            "signs": dict(SIGNS),
            "chained": certified.as_dict() if certified else None,
            "level": 0.95,
            "power": 0.8,
            "smallest": smallest_by_pairs(found, 0.8),
        },
    )
    return report


def sample_by_outputs(*, smallest: float | None = 0.021) -> PurchaseReport:
    """As `sample_difference`, by labels of single outputs: 6 of the other's 30 fail, 3 of this one's 25."""
    report = sample_difference(name="by outputs")
    found = report["difference"]["found"]  # type: ignore[index]
    first, second = (
        Rate(failures / 500, failures / 1500, failures / 150, 0.95, "Fay-Feuer gamma, largest weight", failures, n)
        for failures, n in ((6, 30), (3, 25))
    )
    found |= {"paired": False, "labelled": 55, "both": 0, "p_value": None}
    found |= {"only_first": first.as_dict(), "only_second": second.as_dict()}
    certificate = Rate(-0.006, -0.041, 0.016, 0.95, "MOVER of gamma", 9, 55)
    estimate = certificate._replace(low=-0.024, high=0.011)
    notes = ["The certificate holds whatever the scores are worth."]
    report["tiers"] = {
        "certificate": certificate.as_dict(),
        "estimate": estimate.as_dict(),
        "forecast": None,
        "notes": notes,
    }
    report["difference"] |= {"smallest": smallest}  # type: ignore[operator]
    report["asked"] |= {"design": OUTPUTS, "title": OUTPUTS_TITLE}
    report["plan"] |= {"power": {"words": "That this filter fails 50 % less often takes 338 outputs."}}
    return report
