"""Stages `embed` and `select`: what is chosen, from what it is kept apart, why; killed, run twice, and out of date."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.db import connection

from engine.errors import BadInput
from tests.driving import WorkerKilled, killed_at
from tests.selecting import classifier, give_scores, run_stage, scored_round, snippet
from tests.workers.bag_encoder import BagEncoder
from webapi.models import Artifact, Batch, EmbeddingShard, Policy, Pool, Round, Snippet, Stage, Task, User
from webapi.services.rounds import round_create
from workers import embed, index_shards
from workers.index_plan import index_of
from workers.index_reading import vectors_of
from workers.index_shards import Loaded
from workers.kept_apart import kept_apart
from workers.rounds import STAGES
from workers.score import choosable
from workers.score import plan as plan_scores
from workers.select import select
from workers.selection_reading import page_of, selection_of, summary
from workers.selection_table import selection_path

pytestmark = pytest.mark.django_db
KEY = "0193a5f2-7c1e-7b3a-9d2f-4e5a6b7c8d9e"


@pytest.fixture(autouse=True)
def encoder(monkeypatch: pytest.MonkeyPatch) -> BagEncoder:
    made = BagEncoder()
    monkeypatch.setattr(index_shards, "_loaded", lambda name, precision: Loaded(made, "first version"))
    monkeypatch.setattr(embed, "STAGE_SHARD", 32)
    return made


def embedded(round_: Round) -> dict[str, dict[str, Any]]:
    """Runs the stage `embed`; its plan."""
    stage, _ = Stage.objects.get_or_create(round=round_, name="embed", defaults={"position": 8})
    (spec,) = [one for one in STAGES if one.name == "embed"]
    plan = spec.plan(stage)
    for args in plan.values():
        run_stage(round_, "embed", spec.run, **args)
    return plan


def chosen(round_: Round) -> list[tuple[str, str]]:
    members = round_.members.filter(selected=True)
    return sorted(members.values_list("pool", "snippet__content_hash"))


def table(round_: Round) -> list[tuple[Any, ...]]:
    """The selection without keys."""
    selection = selection_of(round_)
    assert selection is not None
    hashes = {str(pk): digest for pk, digest in Snippet.objects.values_list("pk", "content_hash")}
    rows = selection.table.to_pylist()
    names = [name for name in selection.table.schema.names if not name.startswith("nearest")]
    return [tuple(hashes.get(row[name], row[name]) for name in names) for row in rows]


def test_the_batch_has_the_sizes_asked_for_and_a_random_share(policy: Policy) -> None:
    round_ = scored_round(policy)
    embedded(round_)
    assert run_stage(round_, "select", select) == {"selected_attack": 8, "selected_candidate": 10}
    assert [pool for pool, _ in chosen(round_)] == ["attack"] * 8 + ["candidate"] * 10
    selection = selection_of(round_)
    assert selection is not None
    rows = page_of(selection, {"status": "chosen"}, size=100).rows
    assert [(row["pool"], row["place"]) for row in rows] == [
        *(("attack", n) for n in range(8)),
        *(("candidate", n) for n in range(10)),
    ]
    drawn = [row for row in rows if row["reason"] == "random"]
    assert [row["pool"] for row in drawn] == ["candidate"]
    assert drawn[0]["inclusion"] == pytest.approx(1 / (60 - 9))
    assert {row["inclusion"] for row in rows if row["reason"] == "strategy"} == {1.0}
    told = summary(selection)
    assert (told["chosen"], sum(told["left_out"].values())) == ({"random": 1, "strategy": 17}, 72)
    assert told["kept_apart"] == 20
    assert 0 < told["map_shows"] <= 1


def test_every_row_says_what_it_was_worth_and_what_is_near(policy: Policy) -> None:
    round_ = scored_round(policy)
    embedded(round_)
    run_stage(round_, "select", select)
    selection = selection_of(round_)
    assert selection is not None
    rows = page_of(selection, {"pool": "candidate"}, size=100).rows
    assert len(rows) == 60
    assert sorted(row["rank"] for row in rows) == list(range(60))
    cutoff = np.log(0.1 / 0.9)
    for row in rows:
        assert row["value"] == pytest.approx(-abs(row["logit"] - cutoff), abs=1e-5)
        assert row["plain"] == (row["rank"] < 10)
    vectors = vectors_of(index_of(policy), [*choosable(round_), *kept_apart(round_)])
    at = {key.hex(): vector for key, vector in zip(vectors.keys.tolist(), vectors.rows, strict=True)}
    labelled = {str(pk) for pk in kept_apart(round_)}
    finds = {row["snippet"] for row in page_of(selection, {"pool": "attack", "status": "chosen"}).rows}
    for row in rows[::7]:
        own = at[row["snippet"].replace("-", "")]
        best = max(float(own @ at[key.replace("-", "")]) for key in labelled | finds)
        assert row["nearest_labelled_similarity"] == pytest.approx(best, abs=1e-3)
        assert row["nearest_labelled"] in labelled | finds
        assert row["nearest_chosen"] != row["snippet"]
    assert selection.number(status="apart") == 20
    left = page_of(selection, {"status": "left_out", "pool": "candidate"}, size=100).rows
    assert [row["plain"] for row in left] == sorted((row["plain"] for row in left), reverse=True)
    assert [row["rank"] for row in left if not row["plain"]] == sorted(row["rank"] for row in left if not row["plain"])


def test_the_same_seed_chooses_the_same_and_another_seed_draws_others(policy: Policy) -> None:
    rounds = [scored_round(policy, seed=seed, acquisition="random") for seed in (3, 3, 4)]
    for round_ in rounds:
        embedded(round_)
        run_stage(round_, "select", select)
    first, again, other = map(chosen, rounds)
    assert first == again
    assert first != other
    assert table(rounds[0]) == table(rounds[1])


def test_nothing_is_embedded_twice(policy: Policy, encoder: BagEncoder) -> None:
    round_ = scored_round(policy)
    plan = embedded(round_)
    assert list(plan) == ["000000", "000001", "000002", "000003"]
    assert len(encoder.given) == len(set(encoder.given)) == 110
    assert embedded(round_) == {}
    run_stage(round_, "select", select)
    second = scored_round(policy, candidates=70)
    embedded(second)
    assert len(encoder.given) == len(set(encoder.given)) == 120, "only what is new to the policy"


@pytest.mark.parametrize("statement", [0, 3, 7, 9, 11, 13, 15, 17, 19])
def test_killed_in_mid_selection_it_chooses_the_same(policy: Policy, statement: int) -> None:
    round_ = scored_round(policy)
    embedded(round_)
    killed = False
    try:
        with connection.execute_wrapper(killed_at(statement)):
            run_stage(round_, "select", select)
    except WorkerKilled:
        killed = True
    run_stage(round_, "select", select)
    before, listed = chosen(round_), table(round_)
    run_stage(round_, "select", select)
    assert (chosen(round_), table(round_)) == (before, listed), "run again it changes nothing"
    whole = scored_round(policy)
    embedded(whole)
    run_stage(whole, "select", select)
    assert chosen(whole) == before
    assert killed


def test_killed_in_mid_embedding_the_rest_is_embedded_and_the_selection_is_the_same(
    policy: Policy, monkeypatch: pytest.MonkeyPatch, encoder: BagEncoder
) -> None:
    round_ = scored_round(policy)
    encode = encoder.encode

    def dying(texts: list[str], **kwargs: Any) -> Any:
        if len(encoder.given) >= 64:
            raise WorkerKilled
        return encode(texts, **kwargs)

    monkeypatch.setattr(encoder, "encode", dying)
    with pytest.raises(WorkerKilled):
        embedded(round_)
    assert list(EmbeddingShard.objects.values_list("state", flat=True)) == ["grouped", "grouped", "planned", "planned"]
    monkeypatch.setattr(encoder, "encode", encode)
    assert list(embedded(round_)) == ["000002", "000003"]
    assert len(encoder.given) == len(set(encoder.given)) == 110
    run_stage(round_, "select", select)
    whole = scored_round(policy)
    run_stage(whole, "select", select)
    assert chosen(whole) == chosen(round_)


def test_a_round_embeds_no_more_of_the_labelled_than_is_said(
    policy: Policy, monkeypatch: pytest.MonkeyPatch, encoder: BagEncoder
) -> None:
    monkeypatch.setattr(embed, "MOST_LABELLED", 7)
    round_ = scored_round(policy)
    embedded(round_)
    run_stage(round_, "select", select)
    assert len(encoder.given) == 97
    selection = selection_of(round_)
    assert selection is not None
    assert selection.about["kept_apart"] == 7
    newest = sorted(round_.members.filter(pool=Pool.INITIAL).values_list("snippet", flat=True))[-7:]
    assert [row["snippet"] for row in page_of(selection, {"status": "apart"}).rows] == [str(pk) for pk in newest]


def test_more_wanted_than_there_are_takes_all(policy: Policy) -> None:
    round_ = scored_round(policy, candidates=5, finds=3)
    embedded(round_)
    assert run_stage(round_, "select", select) == {"selected_attack": 3, "selected_candidate": 5}
    nothing = scored_round(policy, candidates=0, finds=0)
    embedded(nothing)
    assert run_stage(nothing, "select", select) == {"selected_attack": 0, "selected_candidate": 0}
    assert selection_of(nothing).number(status="apart") > 0  # type: ignore[union-attr]


def test_an_index_older_than_the_pool_is_brought_up_to_it(policy: Policy, encoder: BagEncoder) -> None:
    round_ = scored_round(policy)
    embedded(round_)
    late = snippet(policy, 555)
    late.save()
    round_.members.create(snippet=late, pool=Pool.CANDIDATE)
    give_scores(round_.classifiers.get(), [late], seed=9)
    run_stage(round_, "select", select)
    selection = selection_of(round_)
    assert selection is not None
    assert selection.about["embedded"] == 1
    assert selection.number(snippet=str(late.pk)) == 1
    assert encoder.given[-1] == late.text.text


def test_a_shard_that_nobody_made_is_made_here(policy: Policy) -> None:
    round_ = scored_round(policy)
    stage = Stage.objects.create(round=round_, name="embed", position=8)
    embed.plan(stage)
    assert run_stage(round_, "select", select) == {"selected_attack": 8, "selected_candidate": 10}


@pytest.mark.parametrize("number", [0, 1])
def test_a_damaged_shard_is_named_and_made_again(policy: Policy, gauntlet_home: Path, number: int) -> None:
    """The first shard holds the labelled, the second some of those to choose from."""
    whole = scored_round(policy)
    embedded(whole)
    run_stage(whole, "select", select)
    round_ = scored_round(policy)
    embedded(round_)
    shard = EmbeddingShard.objects.get(number=number)
    assert shard.artifact is not None
    file = gauntlet_home / shard.artifact.path / "vectors.npy"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    run_stage(round_, "select", select)
    selection = selection_of(round_)
    assert selection is not None
    assert selection.about["mended"] == [f"shard {number} of minilm first ve"]
    assert chosen(round_) == chosen(whole)
    assert selection.about["kept_apart"] == 20


def test_near_duplicates_are_left_out_but_for_the_random_share(policy: Policy) -> None:
    round_ = scored_round(policy, candidates=12, finds=0, query_strategy="top", random=0, labelled=4)
    labelled = Snippet.objects.get(pk=kept_apart(round_)[0])
    twins = []
    for place, of in enumerate([labelled, *(one.snippet for one in round_.members.filter(pool=Pool.CANDIDATE)[:2])]):
        row = snippet(policy, 600 + place, prompt=of.prompt, completion=of.completion.upper())
        row.save()
        round_.members.create(snippet=row, pool=Pool.CANDIDATE)
        twins.append(row)
    baseline = round_.classifiers.get()
    give_scores(baseline, twins, seed=5)
    baseline.scores.filter(snippet__in=twins).update(logit=float(np.log(0.1 / 0.9)))
    embedded(round_)
    run_stage(round_, "select", select)
    selection = selection_of(round_)
    assert selection is not None
    reasons = {row["snippet"]: row["reason"] for row in page_of(selection, {"pool": "candidate"}, size=99).rows}
    assert reasons[str(twins[0].pk)] == "near_duplicate", "of what is labelled"
    assert [reasons[str(row.pk)] for row in twins[1:]] == ["strategy", "strategy"], "the most valuable of its group"
    originals = round_.members.filter(pool=Pool.CANDIDATE).values_list("snippet", flat=True)[:2]
    assert [reasons[str(pk)] for pk in originals] == ["near_duplicate", "near_duplicate"]


def test_what_is_in_flight_is_kept_apart_from_and_what_is_held_out_is_not(policy: Policy) -> None:
    round_ = scored_round(policy, labelled=3)
    batch = Batch.objects.create(policy=policy, name="elsewhere", adapter="pull")
    rows = [snippet(policy, 700), snippet(policy, 701, split="test"), snippet(policy, 702), snippet(policy, 703)]
    Snippet.objects.bulk_create(rows)
    Task.objects.bulk_create(
        Task(batch=batch, snippet=row, state=state)
        for row, state in zip(rows, ["open", "open", "cancelled", "open"], strict=True)
    )
    apart = kept_apart(round_)
    assert apart[:2] == [rows[3].pk, rows[0].pk]
    assert len(apart) == 5
    own = round_.members.filter(pool=Pool.CANDIDATE).first()
    assert own is not None
    Task.objects.create(batch=batch, snippet=own.snippet)
    assert own.snippet_id not in kept_apart(round_)


def test_second_opinions_are_scored_and_decide_what_classifiers_part_on(policy: Policy, rita: User) -> None:
    artifact = Artifact.objects.create(kind="classifier", path="c", sha256="0", size=0)
    older = classifier(policy, "older", artifact=artifact)
    newer = classifier(policy, "newer", artifact=artifact, threshold=0.5)
    round_ = scored_round(policy, acquisition="disagreement", second_opinions=["previous", str(older.pk)])
    later = classifier(policy, "later", artifact=artifact)
    stage = Stage.objects.create(round=round_, name="score", position=7)
    asked = [args["classifier"] for args in plan_scores(stage).values()]
    assert asked == [str(round_.classifiers.get().pk), str(newer.pk), str(older.pk)]
    assert str(later.pk) not in asked
    rows = list(Snippet.objects.filter(pk__in=choosable(round_)))
    give_scores(older, rows, seed=11)
    give_scores(newer, rows, seed=12)
    embedded(round_)
    run_stage(round_, "select", select)
    values = [row["value"] for row in page_of(selection_of(round_), {"pool": "candidate"}, size=99).rows]  # type: ignore[arg-type]
    assert max(values) > 1, "this one accepts what another rejects"


@pytest.mark.parametrize(
    ("selection", "said"),
    [
        ({"acquisition": "disagreement"}, "disagreement compares classifiers: name others in second_opinions"),
        ({"second_opinions": ["nobody"]}, "'nobody' is neither a classifier's key nor 'previous'"),
        ({"second_opinions": ["previous"] * 2}, "each classifier is asked once"),
        ({"second_opinions": [KEY, KEY.upper()]}, "each classifier is asked once"),
        ({"random": 1.5}, "random"),
        ({"second_opinions": ["previous"]}, "the policy has no earlier classifier"),
        ({"second_opinions": [KEY]}, "no calibrated classifier 0193a5f2"),
    ],
)
def test_settings_are_checked_before_the_round_begins(policy: Policy, selection: dict[str, Any], said: str) -> None:
    corpus = scored_round(policy).corpus
    count = Round.objects.count()
    settings = {"selection": selection, "labeling": {"adapter": "pull"}}
    with pytest.raises(BadInput, match=said):
        round_create(policy=policy, corpus=corpus, settings=settings)
    assert Round.objects.count() == count


def test_a_lost_table_is_decided_again(policy: Policy) -> None:
    round_ = scored_round(policy)
    embedded(round_)
    run_stage(round_, "select", select)
    before = chosen(round_)
    selection_path(round_).unlink()
    assert selection_of(round_) is None
    run_stage(round_, "select", select)
    assert chosen(round_) == before
