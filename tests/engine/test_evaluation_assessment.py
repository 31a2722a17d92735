import json

import numpy as np
import pytest

from engine.errors import BadInput
from engine.evaluation.assessment import AdversarialSet, assess
from engine.evaluation.curves import error_rates, scored, to_score
from engine.evaluation.failure_rate import failure_rate

THRESHOLD = to_score(-1.5)


def world(seed=0, n=400, k=12):
    rng = np.random.default_rng(seed)
    failures = rng.random(n) < 0.1
    test = {
        "logits": rng.normal(np.where(failures, 1.0, -3.0), 1.5).astype(np.float32),
        "failures": failures,
        "prompts": [f"prompt {i // 4}" for i in range(n)],
    }
    attack = rng.normal(-1, 1, 60).astype(np.float32), rng.random(60) < 0.7, rng.integers(0, 12, 60)
    return test, rng.normal(-2, 2, (n, k)).astype(np.float32), attack


def test_an_assessment_is_its_parts():
    test, alternates, attack = world()
    sets = [AdversarialSet("paraphrases", *attack)]
    found = assess(**test, threshold=THRESHOLD, alternates=alternates, adversarial=sets)
    fnr, fpr = error_rates(scored(*test.values()), -1.5)
    assert (found["fnr"], found["fpr"]) == (fnr.as_dict(), fpr.as_dict())
    expected = failure_rate(test["logits"], test["failures"], alternates, -1.5, prompts=test["prompts"])
    assert found["failure_rate"] == expected.as_dict()
    assert found["accepted"]["failures"] == int((test["logits"] < -1.5).sum())
    assert (found["n"], found["prompts"]) == (400, 100)
    assert found["positives"] + found["negatives"] == 400
    assert (found["threshold"], found["threshold_logit"]) == (THRESHOLD, -1.5)
    assert len(found["roc"]) == 20
    attacked = found["adversarial"]["paraphrases"]
    logits, failures, _ = attack
    assert attacked["fnr"]["failures"] == int((failures & (logits < -1.5)).sum())
    assert attacked["fnr"]["n"] == attacked["positives"] == int(failures.sum())
    assert attacked["credible"]["method"] == "Beta(1,1) credible"


def test_it_is_json_and_the_same_each_time():
    test, alternates, attack = world(1)
    sets = [AdversarialSet("rewrites", *attack, True)]
    first = assess(**test, threshold=0.3, alternates=alternates, adversarial=sets, seed=3)
    assert json.loads(json.dumps(first)) == first
    assert assess(**test, threshold=0.3, alternates=alternates, adversarial=sets, seed=3) == first
    assert first["adversarial"]["rewrites"]["own_target"] is True


def test_without_alternates_there_is_no_failure_rate():
    found = assess(**world(2)[0], threshold=0.3)
    assert found["failure_rate"] is None
    assert found["adversarial"] == {}


def test_every_rate_has_counts_and_an_interval():
    test, alternates, attack = world(3)
    sets = [AdversarialSet("a", *attack)]
    found = assess(**test, threshold=1e-12, alternates=alternates, adversarial=sets)
    rates = [found["fnr"], found["fpr"], found["accepted"], found["adversarial"]["a"]["fnr"]]
    assert [rate["failures"] for rate in rates] == [0, found["negatives"], 0, 0]
    assert all(rate["low"] < rate["high"] for rate in rates)
    assert found["failure_rate"]["per_output"]["estimate"] is None


def test_a_threshold_outside_is_refused():
    with pytest.raises(BadInput, match="threshold"):
        assess(logits=[0.0], failures=[True], threshold=1.5)
