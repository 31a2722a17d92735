import json

import numpy as np
import pytest

from engine.evaluation.assessment import AdversarialSet, assess
from engine.evaluation.curves import error_rates, scored
from engine.evaluation.failure_rate import failure_rate


def world(seed=0, n=400, k=12):
    rng = np.random.default_rng(seed)
    positives = rng.random(n) < 0.1
    prompts = np.repeat(np.arange(n // 4), 4)
    logits = rng.normal(np.where(positives, 1.0, -3.0), 1.5).astype(np.float32)
    attack = scored(rng.normal(-1, 1, 60), rng.random(60) < 0.7, rng.integers(0, 12, 60))
    return scored(logits, positives, prompts), rng.normal(-2, 2, (n, k)).astype(np.float32), attack


def test_an_assessment_is_its_parts():
    test, alternates, attack = world()
    found = assess(test, -1.5, alternates=alternates, adversarial={"paraphrases": AdversarialSet(attack, False)})
    fnr, fpr = error_rates(test, -1.5)
    assert (found["fnr"], found["fpr"]) == (fnr.as_dict(), fpr.as_dict())
    expected = failure_rate(test.logits, test.positives, alternates, -1.5, prompts=test.clusters)
    assert found["failure_rate"] == expected.as_dict()
    assert found["accepted"]["failures"] == int((test.logits < -1.5).sum())
    assert (found["n"], found["prompts"]) == (400, 100)
    assert found["positives"] + found["negatives"] == 400
    assert found["threshold"] == pytest.approx(1 / (1 + np.exp(1.5)))
    assert len(found["roc"]) == 20
    attacked = found["adversarial"]["paraphrases"]
    assert attacked["fnr"]["failures"] == int((attack.positives & (attack.logits < -1.5)).sum())
    assert attacked["fnr"]["n"] == attacked["positives"] == int(attack.positives.sum())
    assert attacked["credible"]["method"] == "Beta(1,1) credible"


def test_it_is_json_and_the_same_each_time():
    test, alternates, attack = world(1)
    sets = {"rewrites": AdversarialSet(attack, True)}
    first = assess(test, -1.0, alternates=alternates, adversarial=sets, seed=3)
    assert json.loads(json.dumps(first)) == first
    assert assess(test, -1.0, alternates=alternates, adversarial=sets, seed=3) == first
    assert first["adversarial"]["rewrites"]["own_target"] is True


def test_without_alternates_there_is_no_failure_rate():
    test, _, _ = world(2)
    found = assess(test, -1.0)
    assert found["failure_rate"] is None
    assert found["adversarial"] == {}


def test_every_rate_has_counts_and_an_interval():
    test, alternates, attack = world(3)
    found = assess(test, -30.0, alternates=alternates, adversarial={"a": AdversarialSet(attack, False)})
    rates = [found["fnr"], found["fpr"], found["accepted"], found["adversarial"]["a"]["fnr"]]
    assert [rate["failures"] for rate in rates] == [0, found["negatives"], 0, 0]
    assert all(rate["low"] < rate["high"] for rate in rates)
    assert found["failure_rate"]["per_output"]["estimate"] is None
