"""Attacks alone: seeds chosen, shards run, ended, killed in their middle, run twice, cancelled."""

from __future__ import annotations

import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.utils import timezone

from engine.attacks.disagreement import disagreement
from engine.generation.rejection import logit_cutoff
from engine.snippets import refusals
from tests.attacking import Victim, victim
from tests.driving import WorkerKilled
from tests.engine.openai_server import Reply, error, openai_server
from webapi.models import Attack, AttackCandidate, AttackSeed, Classifier, Job, JobState, Policy, Snippet
from webapi.selectors.attacks import spending_of
from webapi.services.attacks import attack_cancel, attack_create
from workers import attack as shard_job
from workers.attack import shards, total
from workers.attack_alone import LoneAttack
from workers.execute import execute
from workers.jobs import JobEnded
from workers.scoring import load_classifier, logits_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def target(policy: Policy, gauntlet_home: Path) -> Victim:
    return victim(policy, gauntlet_home)


def begun(target: Victim, **settings: Any) -> Attack:
    """An attack that is launched."""
    opinion = settings.pop("second_opinion", None)
    return attack_create(
        classifier=target.classifier, settings=LoneAttack.model_validate(settings), second_opinion=opinion
    )


def work(row: Attack) -> Attack:
    """Runs the attack's jobs until none is due."""
    while pk := row.jobs.filter(state=JobState.QUEUED).order_by("pk").values_list("pk", flat=True).first():
        execute(pk)
    row.refresh_from_db()
    return row


def found(row: Attack) -> list[tuple[str, str, float]]:
    """What an attack left, without ids."""
    columns = row.candidates.values_list("seed__content_hash", "snippet__content_hash", "logit", "queries")
    return sorted((seed, snippet, round(logit, 4), queries) for seed, snippet, logit, queries in columns)


def test_an_attack_starts_from_rejected_failures_nearest_to_the_threshold(target: Victim) -> None:
    row = work(begun(target, name="rewrite", seeds={"limit": 6}, config={"wanted": 1}))
    assert (row.state, row.error, row.seeds) == ("succeeded", "", 6)
    cutoff = logit_cutoff(row.threshold)
    known = logits_of(target.classifier, [one.pk for one in target.failures])
    rejected = sorted((logit, pk) for pk, logit in known.items() if np.float32(logit) >= cutoff)
    assert len(rejected) == len(target.failures) - 2
    assert set(AttackSeed.objects.values_list("snippet", flat=True)) == {pk for _, pk in rejected[:6]}
    assert {one.logit for one in AttackSeed.objects.all()} == {logit for logit, _ in rejected[:6]}
    candidates = list(row.candidates.select_related("snippet", "seed"))
    assert candidates, "else nothing is tested"
    scorer = load_classifier(target.classifier)
    for one in candidates:
        assert scorer.logits([one.snippet.text])[0] == pytest.approx(one.logit, abs=1e-4)
        assert np.float32(one.logit) < cutoff
        assert one.strength == pytest.approx(float(cutoff) - one.logit, abs=1e-5)
        assert refusals(one.snippet.text, row.policy.rules.snippet_rules) == []
        assert (one.snippet.parent, one.snippet.source, one.snippet.split) == (one.seed, "rewrite", "train")
        assert one.snippet.root_hash == one.seed.root_hash
        assert len(one.edits) >= 1
        assert 0 < one.similarity <= 1.0001
    assert row.result["kept"] == len(candidates) == sum(one.stop == "enough" for one in AttackSeed.objects.all())
    assert row.result["queries"] == sum(AttackSeed.objects.values_list("queries", flat=True))
    assert sum(row.result["stops"].values()) == row.result["seeds"] == 6


def test_shards_share_the_budget_and_the_last_to_end_ends_the_attack(
    target: Victim, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_job, "SHARD", 4)
    row = begun(target, name="substitution", seeds={"limit": 10}, budget={"queries": 23})
    first = row.jobs.get()
    execute(first.pk)
    row.refresh_from_db()
    jobs = list(row.jobs.filter(kind="attack_shard").order_by("shard"))
    assert (row.state, row.seeds, [len(job.args["seeds"]) for job in jobs]) == ("running", 10, [4, 4, 2])
    execute(jobs[2].pk)
    execute(jobs[0].pk)
    row.refresh_from_db()
    assert (row.state, row.result) == ("running", {})
    execute(jobs[1].pk)
    row.refresh_from_db()
    spent = [job.result["queries"] for job in row.jobs.filter(kind="attack_shard").order_by("shard")]
    assert (row.state, row.result["queries"]) == ("succeeded", sum(spent))
    assert all(queries <= share for queries, share in zip(spent, [9, 9, 5], strict=True))
    assert row.result["stops"]["query_budget"] >= 1


@pytest.mark.parametrize("name", ["paraphrase", "rewrite", "substitution", "filler"])
def test_run_twice_or_killed_in_its_middle_it_finds_the_same(
    target: Victim, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    config = {"paraphrase": {"max_draws": 16, "most": 3, "least": 1}}.get(name, {"wanted": 1})
    asked = {"name": name, "config": config, "seeds": {"limit": 5}}
    undisturbed = work(begun(target, **asked))
    expected, snippets = found(undisturbed), Snippet.objects.count()
    row = begun(target, **asked)
    write = shard_job._write_candidates

    def dying(*args: Any) -> None:
        write(*args)
        raise WorkerKilled

    monkeypatch.setattr(shard_job, "_write_candidates", dying)
    with pytest.raises(WorkerKilled):
        work(row)
    monkeypatch.setattr(shard_job, "_write_candidates", write)
    row.refresh_from_db()
    assert row.state == "running"
    past = timezone.now() - timedelta(seconds=1)
    killed = row.jobs.get(state=JobState.RUNNING)
    Job.objects.filter(pk=killed.pk).update(lease_expires_at=past)
    execute(killed.pk)
    row.refresh_from_db()
    assert (row.state, found(row)) == ("succeeded", expected)
    for job in row.jobs.all():
        Job.objects.filter(pk=job.pk).update(state=JobState.QUEUED)
        assert execute(job.pk)
    row.refresh_from_db()
    assert (row.state, found(row), row.jobs.count()) == ("succeeded", expected, 2)
    assert row.started_from.count() == 5
    assert Snippet.objects.count() == snippets


def test_shards_of_one_process_share_the_sentence_encoder(target: Victim) -> None:
    first, second = (shard_job.target_of(begun(target, name="filler")).encoder() for _ in range(2))
    assert first is second


def test_named_seeds_are_taken_as_they_are(target: Victim) -> None:
    named = [str(one.pk) for one in target.failures[:3]]
    row = work(begun(target, name="paraphrase", config={"max_draws": 4, "batch": 4}, seeds={"snippets": named}))
    assert (row.state, row.seeds) == ("succeeded", 3)
    assert {str(pk) for pk in AttackSeed.objects.values_list("snippet", flat=True)} == set(named)


def test_where_no_failure_is_rejected_it_says_so(target: Victim) -> None:
    target.classifier.threshold = 1.0
    target.classifier.save()
    row = work(begun(target, name="filler", seeds={"limit": 5}))
    count = len(target.failures)
    assert (row.state, row.error) == (
        "failed",
        f"seeds: no known failure among {count} is rejected by the classifier",
    )
    assert not row.jobs.filter(kind="attack_shard").exists()


def test_a_shard_that_fails_ends_the_attack_and_its_other_jobs(target: Victim, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_job, "SHARD", 2)
    monkeypatch.delenv("NO_SUCH_API_KEY", raising=False)
    config = {"paraphraser": {"name": "openai", "config": {"model": "m", "key_variable": "NO_SUCH_API_KEY"}}}
    row = begun(target, name="paraphrase", config=config, seeds={"limit": 8})
    execute(row.jobs.get().pk)
    first, second, *_ = row.jobs.filter(kind="attack_shard").order_by("pk")
    beside = Job.claim(second.pk, worker="w")
    execute(first.pk)
    row.refresh_from_db()
    assert (row.state, "NO_SUCH_API_KEY is not set" in row.error) == ("failed", True)
    states = row.jobs.filter(kind="attack_shard").order_by("pk").values_list("state", flat=True)
    assert list(states) == ["failed", "running", "cancelled", "cancelled"]
    assert beside is not None
    run = shard_job.JobRun(beside)
    run.beat()
    with pytest.raises(JobEnded):
        run.look()


def test_what_was_paid_is_told_of_an_attack_that_fails(target: Victim, monkeypatch: pytest.MonkeyPatch) -> None:
    with openai_server() as server:
        server.script = [Reply(body=server.reply_to("/chat/completions", {"model": "m", "n": 1}).body)] * 2
        server.script += [error(403, "no more")] * 20
        config = {"model": "m", "base_url": server.base_url, "key_variable": None, "concurrency": 1, "max_retries": 0}
        asked = {"paraphraser": {"name": "openai", "config": config}, "batch": 2, "max_draws": 4}
        row = work(begun(target, name="paraphrase", config=asked, seeds={"limit": 3}, budget={"tokens": 10_000_000}))
    assert (row.state, "refused" in row.error) == ("failed", True)
    spending = spending_of(row)
    assert spending is not None
    assert (spending["requests"], spending["tokens"] > 0) == (2, True)


def test_a_budget_of_tokens_is_kept_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_job, "SHARD", 2)
    seeds = [uuid.UUID(int=i) for i in range(7)]
    for budget in ({"tokens": 9}, {"money": 0.1}):
        (only,) = shards(Attack(title="t", role="alone", budget=budget), seeds).values()
        assert (len(only["seeds"]), only["start"], only["whole"]) == (7, 0, 7)
    assert len(shards(Attack(title="t", role="alone", budget={"queries": 9}), seeds)) == 4


def test_cancelled_it_stops_and_keeps_what_it_found(target: Victim, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_job, "SHARD", 3)
    row = begun(target, name="paraphrase", config={"max_draws": 8, "batch": 8}, seeds={"limit": 6})
    execute(row.jobs.get().pk)
    execute(row.jobs.filter(kind="attack_shard").order_by("shard")[0].pk)
    kept = row.candidates.count()
    assert kept > 0
    running = Job.claim(row.jobs.filter(kind="attack_shard").order_by("shard")[1].pk, worker="w")
    assert running is not None
    assert attack_cancel(attack=row).state == "cancelled"
    assert work(row).candidates.count() == kept
    run = shard_job.JobRun(running)
    run.beat()
    with pytest.raises(JobEnded):
        run.look()


def test_a_second_opinion_ranks_what_is_found(target: Victim, policy: Policy, gauntlet_home: Path) -> None:
    other = victim(policy, gauntlet_home, seed=5, name="other").classifier
    row = work(
        begun(
            target,
            name="paraphrase",
            config={"max_draws": 16, "batch": 16},
            seeds={"limit": 4},
            second_opinion=other,
        )
    )
    candidates = list(AttackCandidate.objects.order_by("-strength", "pk").select_related("snippet"))
    assert len(candidates) > 3
    texts = [one.snippet.text for one in candidates]
    opinions = load_classifier(other).logits(texts)
    mine = load_classifier(target.classifier).logits(texts)
    expected = disagreement(mine, logit_cutoff(row.threshold), opinions, logit_cutoff(other.threshold))
    assert [one.strength for one in candidates] == pytest.approx(expected.tolist(), abs=1e-3)
    by_score = sorted(candidates, key=lambda one: one.logit)
    assert [one.pk for one in by_score] != [one.pk for one in candidates], "another order than by the score"


def test_a_second_opinion_without_weights_fails_before_anything_is_asked(
    target: Victim, policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Classifier.objects.create(policy=policy, name="gone", condition="x", encoder="e", threshold=0.5)
    monkeypatch.setattr(shard_job, "make_attack", lambda *_: pytest.fail("the attack was made"))
    row = work(begun(target, name="filler", seeds={"limit": 2}, second_opinion=other))
    assert (row.state, "not in the store" in row.error) == ("failed", True)


def test_a_find_that_another_split_has_is_left_out(target: Victim) -> None:
    asked = {"name": "paraphrase", "config": {"max_draws": 8, "batch": 8}, "seeds": {"limit": 4}}
    first = work(begun(target, **asked))
    taken = first.candidates.order_by("pk").first()
    assert taken is not None
    Snippet.objects.filter(pk=taken.snippet_id).update(split="test", root_hash="t" * 64, parent=None)
    again = work(begun(target, **asked))
    assert {one[1] for one in found(first)} - {one[1] for one in found(again)} == {taken.snippet.content_hash}


def test_totals_add_numbers_and_tables_and_what_was_spent() -> None:
    model = {"requests": 2, "reused": 0, "estimated": 0, "prompt_tokens": 5, "completion_tokens": 7, "money": 0.5}
    results = [
        {"kept": 2, "stops": {"enough": 1}, "note": "a", "spending": {"m": model}, "ok": True},
        {"kept": 3, "stops": {"enough": 2, "searched": 1}, "note": "b", "spending": {"m": {**model, "money": None}}},
        {"kept": 1},
    ]
    assert total(results) == {
        "kept": 6,
        "stops": {"enough": 3, "searched": 1},
        "note": "b",
        "spending": {
            "m": {**model, "requests": 4, "prompt_tokens": 10, "completion_tokens": 14, "money": None},
        },
        "ok": True,
    }
    assert total([]) == {}


def test_shards_hold_all_seeds_once(target: Victim, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_job, "SHARD", 3)
    row = Attack(title="t" * 32, role="measuring")
    seeds = [one.pk for one in target.failures[:7]]
    planned = shards(row, seeds)
    assert [pk for args in planned.values() for pk in args["seeds"]] == [str(pk) for pk in seeds]
    assert all(len(name) <= 64 for name in planned)
