"""A difference bought output by output: scored by both filters, spread by both, killed and repeated, certified."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from django.conf import settings

from engine.classifiers import Recipe, train
from engine.evaluation.chained import chained, split_level
from engine.evaluation.designs import Answers
from engine.evaluation.difference_ways import WAYS
from engine.evaluation.differing_outputs import NAME
from engine.snippets import Snippet as SnippetText
from tests.driving import killed_buying
from tests.engine.tiny_encoders import examples
from tests.workers.test_evaluations import SIMULATED, created, guard, run, stricter
from webapi.errors import DomainError
from webapi.models import Classifier, Evaluation, Label, Task
from webapi.services.classifiers import classifier_score
from webapi.services.evaluations import evaluation_create, evaluation_file, evaluation_report
from workers.artifacts import register
from workers.evaluation_buying import at_work, fresh_of
from workers.evaluation_pool import read_outputs, shard_path

__all__ = ["guard"]
pytestmark = pytest.mark.django_db


@pytest.fixture
def later(guard: Classifier) -> Classifier:
    """Trained by another seed, and as strict: what it is sure of, the first is not."""
    recipe = Recipe(**{**guard.recipe, "seed": 5, "epochs": 2})
    folder = settings.GAUNTLET_HOME / "classifiers" / "later"
    train(examples(64), recipe, out_dir=folder)
    row = Classifier.objects.create(
        policy=guard.policy,
        round=guard.round,
        name="later",
        condition="later",
        encoder=guard.encoder,
        recipe=recipe.model_dump(mode="json"),
        precision="fp32",
        artifact=register(folder, "classifier"),
    )
    texts = [SnippetText(one.snippet.prompt, one.snippet.completion) for one in examples(60)]
    row.threshold = float(np.quantile([one.score for one in classifier_score(classifier=row, snippets=texts)], 0.5))
    row.save()
    return row


def opened(later: Classifier, guard: Classifier, **given: Any) -> Evaluation:
    parent = given.pop("parent", None)
    about = {"outputs": {"copies": 20, "tries": 9}, "confirmations": 0, "design": "stratified", "guess": 0.3}
    wanted = {**SIMULATED, **about, "relative": 1.2, **given}
    return evaluation_create(classifier=later, against=guard, parent=parent, settings=wanted)


def test_each_output_has_the_other_filters_score(guard: Classifier, later: Classifier) -> None:
    outputs = read_outputs(run(opened(later, guard, buy=False)))
    texts = [SnippetText(p, c) for p, c in zip(outputs.texts, outputs.completions, strict=True)]
    mine, others = (
        np.array([one.logit for one in classifier_score(classifier=row, snippets=texts)]) for row in (later, guard)
    )
    assert outputs.sides.later.any()
    assert not outputs.sides.later.all()
    assert outputs.pool.logits == pytest.approx(np.where(outputs.sides.later, mine, others), abs=1e-4)
    assert outputs.pool.second == pytest.approx(np.where(outputs.sides.later, others, mine), abs=1e-4)


def test_texts_have_it_too(guard: Classifier, later: Classifier) -> None:
    outputs = read_outputs(run(opened(later, guard, buy=False, outputs={"source": "texts"})))
    texts = [SnippetText(p, c) for p, c in zip(outputs.texts, outputs.completions, strict=True)]
    mine, others = (
        np.array([one.logit for one in classifier_score(classifier=row, snippets=texts)]) for row in (later, guard)
    )
    assert outputs.sides.later.tolist() == [True, False, False, False], "one accepts what the other rejects"
    assert outputs.pool.second == pytest.approx(np.where(outputs.sides.later, others, mine), abs=1e-4)


def test_from_both_pools_to_three_tiers_and_a_certificate(guard: Classifier, later: Classifier) -> None:
    first = run(created(guard))
    evaluation = run(opened(later, guard, parent=first, improvement=0.9, power=0.5))
    assert (evaluation.state, evaluation.error) == ("succeeded", "")
    plan, report = evaluation.plan, evaluation_report(evaluation)
    assert plan["chosen"]["design"] == report["asked"]["design"] == NAME
    assert list(plan["designs"])[:3] == ["differing", "two_tests", "shared"]
    assert plan["designs"][NAME] == plan["chosen"]
    outputs, work = read_outputs(evaluation), at_work(fresh_of(evaluation.pk))
    assert 0 < work.plan.outputs < len(outputs.origins), "not every output is labelled"
    said = work.order[: work.plan.outputs]
    by_choice = {
        yes: set(labels.values_list("snippet__content_hash", flat=True))
        for yes, labels in ((True, Label.objects.filter(choice="Yes")), (False, Label.objects.exclude(choice="Yes")))
    }
    failing = by_choice[True] - by_choice[False]
    fails = np.array([SnippetText(outputs.texts[i], outputs.completions[i]).content_hash in failing for i in said])
    way, level = WAYS["stratified"], split_level(0.95, 2)
    of = (outputs.pool, outputs.sides, work.plan, Answers(said, fails))
    found = way.answer(*of, 0.95, 0)
    assert report["tiers"] == found.tiers.as_dict()
    assert report["difference"]["found"] == found.difference.as_dict()
    assert report["difference"]["found"]["paired"] is False
    assert report["difference"]["signs"] == {
        "tiers": "subject minus against: below 0 the subject fails less often",
        "found.difference": "against minus subject: above 0 the subject fails less often",
    }
    before = at_work(fresh_of(first.pk))
    hashes = [
        SnippetText(before.buying.outputs.texts[i], before.buying.outputs.completions[i]).content_hash
        for i in before.order
    ]
    rate = before.design.estimate(
        before.buying.outputs.pool,
        before.plan,
        Answers(before.order, np.array([one in failing for one in hashes])),
        level,
    )
    certified = chained(rate.certificate, [way.answer(*of, level, 0).difference])
    assert report["difference"]["chained"] == certified.as_dict()
    assert report["difference"]["smallest"] == way.smallest(*of, found.difference, 0.5, 0)
    assert (plan["power"]["improvement"], plan["power"]["power"]) == (0.9, 0.5)
    page = evaluation_file(evaluation, "report.html").read_text().replace("\N{NO-BREAK SPACE}", " ")
    assert "fails 90 % less often than the other is found with a chance of 50 %" in page
    assert "most where both scores expect failures" in page
    assert "certificate, if the labels hold" in page


@pytest.mark.parametrize("statement", range(8, 320, 63))
def test_killed_in_the_purchase_it_buys_the_same(guard: Classifier, later: Classifier, statement: int) -> None:
    evaluation = opened(later, guard, at_once=9)
    killed_buying(evaluation, statement)
    evaluation = run(evaluation)
    assert (evaluation.state, evaluation.error) == ("succeeded", "")
    assert evaluation.results["tiers"]["certificate"]["n"] == evaluation.plan["chosen"]["outputs"]
    tasks = list(Task.objects.values_list("snippet", flat=True))
    assert len(tasks) == len(set(tasks)), "no snippet is sent out twice"


def test_filters_that_score_alike_claim_no_gain(guard: Classifier) -> None:
    evaluation = run(opened(stricter(guard), guard, buy=False))
    assert evaluation.state == "planned"
    assert "no gain is claimed" in evaluation.plan["chosen"]["note"]


def test_outputs_without_the_other_filters_score_are_planned_by_pairs_alone(
    guard: Classifier, later: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.evaluation_sources._add_seconds", lambda *_: None)
    pairs = run(opened(later, guard, design="simple_random", buy=False))
    assert pairs.plan["chosen"]["design"] == "differing"
    assert "lack the other filter's scores" in pairs.plan["designs"][NAME]["error"]
    failed = run(opened(later, guard))
    assert failed.state == "failed"
    assert "use the design simple_random" in failed.error
    assert shard_path(failed, "00000").exists()


def test_what_a_difference_has_no_place_for_is_refused(guard: Classifier, later: Classifier) -> None:
    with pytest.raises(DomainError, match="cannot be bought by 'until_failures'"):
        opened(later, guard, design="until_failures")
    with pytest.raises(DomainError, match="second: of a difference"):
        evaluation_create(classifier=later, against=guard, second=guard, settings=SIMULATED)
    assert not Evaluation.objects.exists()
