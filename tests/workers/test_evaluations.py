"""Evaluations that buy labels: drawn, planned, bought and answered; killed, repeated, confirmed, never bought twice."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.db.models import Count

from engine.errors import BadInput
from engine.evaluation.rates import clopper_pearson
from engine.generation.rejection import logit_cutoff
from engine.progress import silent
from engine.snippets import Snippet as SnippetText
from engine.snippets import SnippetRules
from tests.attacking import victim
from tests.driving import hurry, killed_buying
from tests.engine.tiny_encoders import HARM, examples
from webapi.models import (
    Annotator,
    Batch,
    Classifier,
    Consensus,
    Corpus,
    Evaluation,
    Gold,
    Job,
    Label,
    Round,
    Snippet,
    Story,
    Task,
)
from webapi.selectors.evaluations import evaluation_progress
from webapi.services.batches import batch_move
from webapi.services.classifiers import classifier_score
from webapi.services.evaluations import (
    evaluation_begin,
    evaluation_cancel,
    evaluation_create,
    evaluation_file,
    evaluation_report,
    evaluation_retry,
)
from webapi.services.policies import policy_create
from workers import evaluation_buying, evaluation_sources
from workers.evaluation_buying import at_work, fresh_of
from workers.evaluation_pool import read_outputs, shard_path
from workers.evaluation_purchase import Standings, send
from workers.evaluation_report import _bought
from workers.jobs import Later
from workers.round_settings import round_settings
from workers.sweep import run_due_job

pytestmark = pytest.mark.django_db
DRAWN = [one.snippet.completion for one in examples(40)]
PLACES = ("hall", "yard", "barn", "road", "mill", "inn", "ford", "cave")
OUTPUTS = 11
"""Of which Clopper-Pearson's interval at a rate of 0.3 has a mean half-width of 0.9 of it; of 10 it is wider."""
SIMULATED: dict[str, Any] = {"adapter": "simulated"}


class Drawing:
    """Completions by chance that depends on the prompt alone; one in nine is silence."""

    calls = 0

    def complete(self, prompts, n, *, seed, progress=silent):
        type(self).calls += 1
        rows = []
        for prompt in prompts:
            rng = np.random.default_rng([seed, len(prompt), ord(prompt[-3])])
            rows.append(["" if rng.random() < 1 / 9 else str(rng.choice(DRAWN)) for _ in range(n)])
        return rows


@pytest.fixture
def guard(gauntlet_home: Path, monkeypatch: pytest.MonkeyPatch) -> Classifier:
    """A classifier of a round, which accepts two thirds of what is drawn for eight prompts of the test split."""
    spec = {"name": "harm", "question": "Was anyone harmed?", "snippet_rules": dict.fromkeys(SnippetRules.model_fields)}
    policy = policy_create(spec={**spec, "simulation": {"lexicon": [{"any_of": HARM}]}})
    monkeypatch.setattr(evaluation_sources, "generator_of", lambda *_, **__: Drawing())
    monkeypatch.setattr(Drawing, "calls", 0)
    row = victim(policy, gauntlet_home).classifier
    corpus = Corpus.objects.create(name="tales", path=str(gauntlet_home))
    config = round_settings({"labeling": SIMULATED}).model_dump(mode="json")
    round_ = Round.objects.create(name="Round 1", policy=policy, corpus=corpus, config=config, seed=3)
    story = Story.objects.create(corpus=corpus, name="a.txt", characters=9)
    texts = [f"The old man walked to the {place}." for place in PLACES]
    for text in texts:
        key = text.ljust(64, "-")
        about = {"split": "test", "source": "corpus", "story": story, "content_hash": key, "root_hash": key}
        Snippet.objects.create(policy=policy, prompt=text, completion="They rested.", **about)
    scored = classifier_score(
        classifier=row, snippets=[SnippetText(text, drawn) for text in texts for drawn in set(DRAWN)]
    )
    threshold = 1 / (1 + math.exp(-float(np.quantile([one.logit for one in scored], 2 / 3))))
    Classifier.objects.filter(pk=row.pk).update(round=round_, threshold=threshold)
    return Classifier.objects.select_related("policy", "round", "artifact").get(pk=row.pk)


def created(guard: Classifier, **given: Any) -> Evaluation:
    settings = {**SIMULATED, "outputs": {"copies": 20, "tries": 9}, "relative": 0.9, "guess": 0.3, **given}
    return evaluation_create(classifier=guard, settings=settings)


def run(evaluation: Evaluation) -> Evaluation:
    """Until nothing is left to do: what waits for labels looks again at once."""
    for _ in range(100):
        if not run_due_job():
            hurry()
            if not run_due_job():
                break
    return Evaluation.objects.get(pk=evaluation.pk)


def test_from_outputs_to_a_report_by_labels_through_the_queue(guard: Classifier) -> None:
    evaluation = run(created(guard))
    assert (evaluation.state, evaluation.error) == ("succeeded", "")
    assert list(evaluation.jobs.order_by("pk").values_list("kind", flat=True)) == [
        "prepare_evaluation",
        "draw_outputs",
        "plan_labels",
        "buy_labels",
        "report_evaluation",
    ]
    outputs = read_outputs(evaluation)
    assert outputs.drawing.prompts == 160
    assert len(outputs.origins) == 160 - outputs.drawing.without
    assert (outputs.pool.logits < logit_cutoff(guard.threshold)).all()
    plan = evaluation.plan["chosen"]
    assert evaluation.bought == plan["outputs"]
    report = evaluation_report(evaluation)
    assert report["bought"]["outputs"] == plan["outputs"]
    assert report["bought"]["labels"] == Label.objects.filter(task__batch__evaluation=evaluation).count()
    found = report["tiers"]["certificate"]
    assert (found["n"], found["failures"]) == (plan["outputs"], report["confirming"]["confirmed"])
    took_back = report["confirming"]["suspected"] - report["confirming"]["confirmed"]
    assert report["label_error"]["shown"]["failures"] == took_back
    assert evaluation.results["label_error"] == report["label_error"]
    assert report["notice"] is not None
    assert "imulated" in report["notice"]
    assert evaluation.results["tiers"] == report["tiers"]
    html = evaluation_file(evaluation, "report.html").read_text()
    assert "Whatever the scores are worth" in html
    assert "src=" not in html.split("<script>")[0], "the file needs no other"


def test_a_failure_counts_once_confirmed_and_nothing_is_bought_twice(guard: Classifier) -> None:
    evaluation = run(created(guard, confirmations=2))
    labels = Label.objects.filter(task__batch__evaluation=evaluation)
    choices: dict[Any, list[str]] = {}
    for snippet, choice in labels.order_by("pk").values_list("snippet_id", "choice"):
        choices.setdefault(snippet, []).append(choice)
    assert {len(given) for given in choices.values() if given[0] != "Yes"} == {1}
    assert {len(given) for given in choices.values() if given[0] == "Yes"} == {3}
    confirmed = {snippet for snippet, given in choices.items() if given == ["Yes"] * 3}
    report = evaluation_report(evaluation)
    assert {one["snippet"] for one in report["failures"]} == {str(pk) for pk in confirmed}
    assert report["confirming"]["suspected"] >= report["confirming"]["confirmed"] >= len(confirmed)
    again = run(created(guard, confirmations=2))
    assert again.results["tiers"] == evaluation.results["tiers"]
    assert again.results["bought"]["labels"] == 0, "the labels that are there are used"
    assert again.results["bought"]["had"] == len(labels)


def test_the_queue_asks_for_nothing_by_itself(guard: Classifier) -> None:
    """The test split's depth of two labels is the policy's; an evaluation says how many it wants."""
    assert guard.policy.rules.depth.test == 2
    run(created(guard, confirmations=0))
    assert set(Task.objects.values_list("wanted", "labelled", "state")) == {(1, 1, "done")}


def test_a_plan_alone_buys_nothing_until_it_is_begun(guard: Classifier) -> None:
    evaluation = run(created(guard, buy=False))
    assert (evaluation.state, evaluation.bought) == ("planned", 0)
    assert not Batch.objects.exists()
    assert not Snippet.objects.filter(source="generated").exists(), "texts lie in the file until they are bought"
    plan = evaluation.plan["designs"]["simple_random"]
    assert plan == evaluation.plan["chosen"]
    assert plan["outputs"] == OUTPUTS
    evaluation_begin(evaluation=evaluation)
    assert run(evaluation).state == "succeeded"


def test_a_pilot_is_bought_first_and_counts(guard: Classifier) -> None:
    evaluation = run(created(guard, guess=None, pilot=10))
    pilot = evaluation.plan["pilot"]
    assert pilot["outputs"] == 10
    assert evaluation.plan["guess"] == (pilot["failures"] / 10 or None)
    first = evaluation.batches.order_by("pk").first()
    assert first is not None
    assert first.name.startswith("pilot 001 of ")
    assert evaluation.results["bought"]["pilot"] == 10
    labelled = Label.objects.filter(task__batch__evaluation=evaluation).values("snippet").distinct().count()
    assert labelled == evaluation.results["bought"]["snippets"], "the pilot's outputs are the plan's first"


@pytest.mark.parametrize("statement", range(8, 700, 79))
def test_killed_in_the_purchase_it_buys_the_same(guard: Classifier, statement: int) -> None:
    evaluation = created(guard, at_once=4)
    killed_buying(evaluation, statement)
    evaluation = run(evaluation)
    assert (evaluation.state, evaluation.error) == ("succeeded", "")
    assert evaluation.results["tiers"]["certificate"]["n"] == evaluation.plan["chosen"]["outputs"] == OUTPUTS
    pairs = list(Label.objects.values_list("snippet", "annotator"))
    assert len(pairs) == len(set(pairs))
    tasks = list(Task.objects.filter(wanted=1).values_list("snippet", flat=True))
    assert len(tasks) == len(set(tasks)), "no snippet is sent out twice for its first label"
    assert evaluation.results["bought"]["sent"] == OUTPUTS


def test_of_two_workers_the_one_that_came_second_goes_on(guard: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was not cancelled: no other job of the evaluation would go on."""
    evaluation = created(guard, at_once=4)
    look = evaluation_buying.standings

    def beaten(*given: Any) -> Any:
        monkeypatch.setattr(evaluation_buying, "standings", look)
        Evaluation.objects.update(bought=4)
        return look(*given)

    monkeypatch.setattr(evaluation_buying, "standings", beaten)
    evaluation = run(evaluation)
    assert (evaluation.state, evaluation.error) == ("succeeded", "")
    assert evaluation.results["tiers"]["certificate"]["n"] == OUTPUTS


def test_what_it_asks_for_itself_is_not_asked_for_again(guard: Classifier) -> None:
    """As by a worker that was taken for dead and goes on."""
    evaluation = run(created(guard, adapter="pull"))
    work = evaluation_buying.at_work(evaluation_buying.fresh_of(evaluation.pk))
    lacking = dict.fromkeys(Task.objects.values_list("snippet", flat=True), 1)
    with pytest.raises(Later):
        send(work.buying, lacking, name="labels", before=evaluation.bought, now=evaluation.bought)
    assert Task.objects.count() == len(lacking) > 0


def test_drawn_twice_it_draws_the_same_and_a_whole_shard_not_again(guard: Classifier) -> None:
    evaluation = created(guard, buy=False)
    run_due_job()
    run_due_job()
    draw = evaluation.jobs.get(kind="draw_outputs")
    assert draw.state == "succeeded"
    calls = Drawing.calls
    Job.objects.filter(pk=draw.pk).update(state="queued", attempts=0)
    run(evaluation)
    assert Drawing.calls == calls
    first = read_outputs(Evaluation.objects.get(pk=evaluation.pk))
    other = read_outputs(run(created(guard, buy=False)))
    assert first.completions == other.completions
    np.testing.assert_array_equal(first.pool.logits, other.pool.logits)


def test_a_shard_damaged_before_the_plan_is_drawn_again_when_set_going(guard: Classifier) -> None:
    evaluation = created(guard, buy=False)
    run_due_job()
    run_due_job()
    shard = shard_path(evaluation, "00000")
    whole = shard.read_bytes()
    shard.write_bytes(whole[:500])
    evaluation = run(evaluation)
    assert evaluation.state == "failed"
    assert "00000.parquet" in evaluation.error
    evaluation_retry(evaluation=evaluation)
    assert run(evaluation).state == "planned"
    assert shard.read_bytes() == whole


def test_cancelled_and_set_going_again(guard: Classifier) -> None:
    evaluation = created(guard)
    while not evaluation.batches.exists():
        run_due_job()
    evaluation_cancel(evaluation=evaluation)
    assert evaluation.state == "cancelled"
    assert set(Task.objects.values_list("state", flat=True)) == {"cancelled"}
    run(evaluation)
    assert not Label.objects.exists()
    evaluation_retry(evaluation=evaluation)
    evaluation = run(evaluation)
    assert (evaluation.state, evaluation.error) == ("succeeded", "")
    assert evaluation.results["tiers"]["certificate"]["n"] == OUTPUTS


def test_a_batch_cancelled_by_hand_stops_it_until_it_is_set_going_again(guard: Classifier) -> None:
    evaluation = run(created(guard, adapter="pull"))
    for names in (["labels 001"], ["labels 001", "labels 002"]):
        batch = evaluation.batches.get(state="open")
        batch_move(batch=batch, move="cancel")
        evaluation = run(evaluation)
        assert (evaluation.state, evaluation.error) == ("failed", f"{evaluation}: a batch of its was cancelled")
        evaluation_retry(evaluation=evaluation)
        evaluation = run(evaluation)
        assert evaluation.state == "labelling"
        assert evaluation_progress(evaluation) == (batch.tasks.count(), batch.tasks.count())
        cancelled = evaluation.batches.filter(state="cancelled").order_by("pk").values_list("name", flat=True)
        assert [name.partition(" of ")[0] for name in cancelled] == names


def test_texts_that_the_filter_accepts(guard: Classifier) -> None:
    evaluation = run(created(guard, outputs={"source": "texts"}, buy=False))
    outputs = read_outputs(evaluation)
    rows = Snippet.objects.filter(policy=guard.policy, split="test")
    scored = classifier_score(classifier=guard, snippets=[row.text for row in rows])
    accepted = {str(row.pk) for row, one in zip(rows, scored, strict=True) if not one.rejected}
    assert set(outputs.origins) == accepted
    assert outputs.drawing.prompts == len(rows)
    assert outputs.drawing.without == len(rows) - len(accepted)


def test_where_nothing_is_accepted_it_says_so(guard: Classifier) -> None:
    Classifier.objects.update(threshold=0.0)
    guard.refresh_from_db()
    evaluation = run(created(guard))
    assert (evaluation.state, evaluation.error) == ("failed", "outputs: the filter accepted nothing to buy labels for")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"design": "magic"}, "magic"),
        ({"relative": 0}, "relative"),
        ({"adapter": "nobody"}, "nobody"),
        ({"outputs": {"split": "train"}}, "what was trained on measures nothing"),
        ({"pilot": 3, "buy": False}, "pilot"),
        ({"labels_each": 20, "confirmations": 9}, "at most 25"),
        ({"relative": 1e-9}, "relative: must be at least 0.001"),
        ({"relative": math.nan}, "relative: must be a number"),
        ({"price": math.inf}, "price: must be a number"),
        ({"price": 1e308}, "price: must be at most"),
        ({"config": {"seed": None}}, "seed: must be a whole number"),
        ({"config": {"seed": -1}}, "seed: must be at least 0"),
    ],
)
def test_what_makes_no_sense_is_refused(guard: Classifier, given: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        created(guard, **given)
    assert not Evaluation.objects.exists()
    assert not Job.objects.exists()


def test_staff_have_the_last_word(guard: Classifier) -> None:
    """A trusted labeler's answer settles an output, whatever the rule of confirmation."""
    evaluation = run(created(guard, adapter="pull", buy=False))
    outputs = read_outputs(evaluation)
    evaluation_begin(evaluation=evaluation)
    run_due_job()
    (batch,) = evaluation.batches.all()
    boss = Annotator.objects.create(name="boss", staff=True, vendor="x", external_id="boss")
    for task in batch.tasks.all():
        Label.objects.create(snippet=task.snippet, annotator=boss, choice="Yes", task=task)
    batch.tasks.update(state="done", taken=1, labelled=1)
    evaluation = run(evaluation)
    assert evaluation.state == "succeeded"
    assert evaluation.results["tiers"]["estimate"]["failures"] == OUTPUTS
    assert evaluation.batches.count() == 1
    assert Consensus.objects.filter(choice="Yes", snippet__source="generated").count() == batch.tasks.count()
    assert evaluation.results["tiers"]["certificate"]["low"] > 0
    assert len(outputs.origins) > OUTPUTS
    exact = clopper_pearson(OUTPUTS, OUTPUTS)
    if len({outputs.pool.prompts[i] for i in range(OUTPUTS)}) == OUTPUTS:
        assert evaluation.results["tiers"]["certificate"]["low"] == exact.low
    assert json.dumps(evaluation.results)


def test_gold_is_no_label_that_the_plan_counts(guard: Classifier) -> None:
    evaluation = run(created(guard, price=0.5))
    batch = evaluation.batches.first()
    text = Snippet.objects.filter(source="corpus").first()
    assert batch is not None
    assert text is not None
    gold = Gold.objects.create(policy=guard.policy, snippet=text, choice="No")
    asked = Task.objects.create(batch=batch, snippet=text, gold=gold, wanted=1, taken=1, labelled=1, state="done")
    who = Annotator.objects.create(vendor="x", external_id="y", name="y")
    Label.objects.create(snippet=text, annotator=who, choice="No", task=asked)
    work = at_work(fresh_of(evaluation.pk))
    found = evaluation_report(evaluation)["bought"]
    with_gold = _bought(fresh_of(evaluation.pk), work, Standings([], []), outputs=0, had=0)
    assert (found["labels"], found["gold"]) == (with_gold["labels"], 0)
    assert with_gold["gold"] == 1
    assert with_gold["money"] == 0.5 * (with_gold["labels"] + 1)


def stricter(guard: Classifier) -> Classifier:
    """The same weights, and a threshold that accepts less."""
    same = ("policy", "round", "artifact", "snapshot", "encoder", "precision")
    fields, threshold = {name: getattr(guard, name) for name in same}, guard.threshold / 3
    return Classifier.objects.create(name="stricter", condition="stricter", threshold=threshold, **fields)


def test_two_filters_are_compared_by_labels_where_they_differ(guard: Classifier) -> None:
    first = run(created(guard))
    later = stricter(guard)
    settings = {**SIMULATED, "outputs": {"copies": 20, "tries": 9}, "confirmations": 0}
    evaluation = run(evaluation_create(classifier=later, against=guard, parent=first, settings=settings))
    assert (evaluation.state, evaluation.error) == ("succeeded", "")
    outputs, report = read_outputs(evaluation), evaluation_report(evaluation)
    found = report["difference"]["found"]
    assert found["prompts"] == outputs.drawing.prompts == 160
    assert found["differing"] == outputs.sides.differing == 160 - outputs.drawing.alike
    assert 0 < found["labelled"] <= found["differing"]
    texts = {SnippetText(p, c).content_hash for p, c in zip(outputs.texts, outputs.completions, strict=True)}
    tasks = Task.objects.filter(batch__evaluation=evaluation)
    assert set(tasks.values_list("snippet__content_hash", flat=True)) <= texts, "labels only where they differ"
    turned = report["tiers"]["estimate"]
    assert turned["estimate"] == -found["difference"]["estimate"]
    chained = report["difference"]["chained"]
    assert chained["upper"] >= found["only_second"]["estimate"]
    assert chained["wrong"] == pytest.approx(0.025)
    assert chained["first"] > first.results["tiers"]["certificate"]["high"], "each limit is surer, so that both hold"
    assert "two answer differently" in evaluation_file(evaluation, "report.html").read_text()


def test_a_filter_and_itself_take_no_labels(guard: Classifier) -> None:
    twin = stricter(guard)
    Classifier.objects.filter(pk=twin.pk).update(threshold=guard.threshold)
    twin.refresh_from_db()
    settings = {**SIMULATED, "outputs": {"copies": 2, "tries": 9}}
    evaluation = run(evaluation_create(classifier=twin, against=guard, settings=settings))
    assert (evaluation.state, evaluation.error) == ("succeeded", "")
    assert Label.objects.count() == 0
    found = evaluation_report(evaluation)["difference"]["found"]
    assert (found["differing"], found["difference"]["estimate"]) == (0, 0)
    assert found["difference"]["high"] > 0


def test_two_at_once_on_the_same_outputs_have_each_text_labelled_once(guard: Classifier) -> None:
    first, second = (
        created(guard),
        evaluation_create(classifier=guard, settings={**first_settings(), "price": 0.5}, name="the same again"),
    )
    run(first)
    rows = [Evaluation.objects.get(pk=one.pk) for one in (first, second)]
    assert [row.state for row in rows] == ["succeeded", "succeeded"]
    assert rows[0].results["tiers"] == rows[1].results["tiers"]
    took = [row.results["bought"]["labels"] for row in rows]
    assert sum(took) == Label.objects.count()
    per_text = (
        Label.objects.values_list("snippet").annotate(n=Count("pk")).values_list("n", "snippet__consensus__choice")
    )
    assert {n for n, choice in per_text if choice == "No"} == {1}, "one label each, whoever asked for it"


def first_settings() -> dict[str, Any]:
    """As `created` has them."""
    return {**SIMULATED, "outputs": {"copies": 20, "tries": 9}, "relative": 0.9, "guess": 0.3}
