"""Stage `evaluate`: its two shards may run at once, and one reads what the other scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from engine.snippets import Snippet as Text
from webapi.models import Classifier, Corpus, Evaluation, Job, Policy, Pool, Round, RoundSnippet, Score, Snippet, Stage
from workers import evaluate
from workers.jobs import JobRun, Later


class Scorer:
    """Knows every text alike."""

    def logits(self, texts: Sequence[Text], **more: object) -> np.ndarray:
        return np.zeros(len(texts), dtype=np.float32)


def test_a_shard_waits_for_the_scores_that_the_other_makes(
    policy: Policy, make_snippets: Callable[..., list[Snippet]], monkeypatch: pytest.MonkeyPatch
) -> None:
    round_ = Round.objects.create(name="r", policy=policy, corpus=Corpus.objects.create(name="books"))
    stage = Stage.objects.create(round=round_, name="evaluate", position=0)
    rows = make_snippets(3)
    RoundSnippet.objects.bulk_create(RoundSnippet(round=round_, snippet=row, pool=Pool.ATTACK_TEST) for row in rows)
    for condition in ("baseline", "+paraphrases"):
        Classifier.objects.create(policy=policy, round=round_, name=condition, condition=condition, encoder="e")
    monkeypatch.setattr(evaluate, "load_classifier", lambda row: Scorer())
    monkeypatch.setattr(evaluate, "alternate_logits", lambda *any_: np.zeros(4, dtype=np.float32))
    monkeypatch.setattr(evaluate, "assess_on", lambda *any_: {})

    def shard(condition: str) -> dict[str, object]:
        job = Job.objects.create(kind="stage", stage=stage, shard=condition, args={"condition": condition})
        return evaluate.evaluate(JobRun(job))

    with pytest.raises(Later):
        shard("+paraphrases")
    assert Score.objects.count() == 3
    assert not Evaluation.objects.exists()
    assert shard("baseline") == {"scored": 3 + 4}
    Job.objects.filter(shard="+paraphrases").delete()
    assert shard("+paraphrases") == {"scored": 4}
    assert Evaluation.objects.count() == 2
