"""The index of embeddings: nothing embedded twice, nothing lost, whatever is killed, late, damaged or exchanged."""

from __future__ import annotations

import shutil
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from django.utils import timezone

from engine.errors import BadInput, MissingModel
from tests.driving import WorkerKilled, killed_at
from tests.engine.tiny_encoders import write_encoder
from tests.workers.bag_encoder import BagEncoder
from webapi.management.commands import index as index_command
from webapi.models import Artifact, EmbeddingIndex, EmbeddingShard, Job, JobState, Policy, ShardState, Snippet
from webapi.models.base import first_id_at
from webapi.selectors.indexes import index_status
from workers import index_plan, index_refresh, index_shards
from workers.index_files import CorruptShard, open_shard
from workers.index_plan import deficit, index_of, lacking, ordered, pending, plan_shards
from workers.index_reading import ids_of, vectors_of
from workers.index_refresh import index_rebuild, index_verify, indexes_follow
from workers.index_shards import Loaded, encoder_for, make_shard
from workers.sweep import run_due_job

pytestmark = pytest.mark.django_db

Make = Callable[..., list[Snippet]]


@pytest.fixture
def encoder(monkeypatch: pytest.MonkeyPatch) -> BagEncoder:
    made = BagEncoder()
    monkeypatch.setattr(index_shards, "_loaded", lambda name, precision: Loaded(made, f"version of {name}"))
    return made


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    monkeypatch.setattr(index_refresh, "SHARD", 4)
    monkeypatch.setattr(index_plan, "CHUNK", 5)
    monkeypatch.setattr(index_refresh, "LOOK_SECONDS", 60.0)
    monkeypatch.setattr(index_refresh, "_looked", float("-inf"))
    settings.JOB_LEASE_SECONDS = 3600  # a heartbeat in its own connection would not see this transaction's jobs


def keys(rows: list[Snippet]) -> Any:
    return ordered(row.pk for row in rows)


def refresh(policy: Policy) -> Job:
    job = index_refresh.index_refresh(policy)
    work()
    job.refresh_from_db()
    return job


def work() -> None:
    """Runs what is due, and then hurries those on that come back later, until nothing is left."""
    while Job.objects.filter(state=JobState.QUEUED).update(not_before=timezone.now()):
        while run_due_job():
            pass


def shards(index: EmbeddingIndex) -> list[tuple[int, int, str]]:
    return list(index.shards.values_list("number", "count", "state"))


def held_keys(index: EmbeddingIndex) -> list[uuid.UUID]:
    return [key for shard in index.shards.all() for key in ids_of(open_shard(shard).keys)]


def test_a_refresh_embeds_every_snippet_once(policy: Policy, make_snippets: Make, encoder: BagEncoder) -> None:
    rows = make_snippets(10)
    job = refresh(policy)
    index = index_of(policy)
    assert (job.state, job.result) == (JobState.SUCCEEDED, {"snippets": 10, "shards": 3})
    assert shards(index) == [(0, 4, "grouped"), (1, 4, "grouped"), (2, 2, "grouped")]
    assert sorted(held_keys(index)) == sorted(row.pk for row in rows)
    assert (index.version, index.dimension, index.precision, index.follows) == ("version of minilm", 16, "fp32", True)
    assert not EmbeddingShard.objects.exclude(keys=b"").exists()
    found = vectors_of(index, [rows[7].pk, rows[2].pk, uuid.uuid4()])
    assert ids_of(found.keys) == [rows[2].pk, rows[7].pk]
    expected = BagEncoder().encode([rows[2].text.text, rows[7].text.text])
    np.testing.assert_allclose(found.rows, expected, atol=1e-3)
    assert found.rows.dtype == np.float32
    refresh(policy)
    assert len(encoder.given) == 10, "a second time nothing is embedded"
    status = index_status(index)
    assert (status.rows, status.shards, status.planned, status.pending) == (10, 3, 0, 0)
    assert status.size == sum(Artifact.objects.values_list("size", flat=True))


def test_what_arrives_is_appended_and_late_commits_are_not_lost(
    policy: Policy, make_snippets: Make, encoder: BagEncoder
) -> None:
    make_snippets(6)
    refresh(policy)
    index = index_of(policy)
    late = [
        first_id_at(timezone.now() - age) for age in (timedelta(seconds=5), timedelta(minutes=30), timedelta(days=9))
    ]
    old = [make_snippets(1, first=100 + n, pk=key)[0] for n, key in enumerate(late)]
    new = make_snippets(3, first=200)
    assert deficit(index) == 6
    assert ids_of(pending(index, most=100)) == sorted(row.pk for row in [*old, *new])
    assert pending(index, most=2).size == 2
    assert indexes_follow() == 1
    assert indexes_follow() == 0, "looked a moment ago"
    work()
    assert deficit(index) == 0
    assert len(encoder.given) == len(set(encoder.given)) == 12
    assert sorted(held_keys(index)) == sorted(Snippet.objects.values_list("pk", flat=True))


def test_nothing_is_read_where_the_counts_agree(
    policy: Policy, make_snippets: Make, encoder: BagEncoder, django_assert_num_queries: Callable[[int], Any]
) -> None:
    make_snippets(10)
    refresh(policy)
    index = EmbeddingIndex.objects.get()
    with django_assert_num_queries(2):
        assert pending(index, most=9).size == 0


@pytest.mark.parametrize("statement", range(0, 12))
def test_killed_at_any_moment_nothing_is_lost_or_doubled(
    policy: Policy, make_snippets: Make, encoder: BagEncoder, statement: int
) -> None:
    make_snippets(7)
    index = index_of(policy)
    first, _ = plan_shards(index, pending(index, most=100), size=4)
    with pytest.raises(WorkerKilled), connection.execute_wrapper(killed_at(statement)):
        make_shard(first, lambda done, total: None)
    for shard in EmbeddingShard.objects.select_related("index__policy", "artifact", "groups"):
        make_shard(shard, lambda done, total: None)
    assert shards(index) == [(0, 4, "grouped"), (1, 3, "grouped")]
    assert sorted(held_keys(index)) == sorted(Snippet.objects.values_list("pk", flat=True))
    assert Artifact.objects.count() == 4


def test_killed_in_mid_encoding_the_shard_is_made_again(
    policy: Policy, make_snippets: Make, encoder: BagEncoder, gauntlet_home: Path
) -> None:
    make_snippets(4)
    index = index_of(policy)
    (shard,) = plan_shards(index, pending(index, most=9))

    def die(done: int, total: int) -> None:
        if done == 2:
            raise WorkerKilled

    with pytest.raises(WorkerKilled):
        make_shard(shard, die)
    assert shards(index) == [(0, 4, "planned")]
    assert not list((gauntlet_home / "index").rglob("*.npy"))
    assert make_shard(EmbeddingShard.objects.get(), lambda done, total: None) is True
    assert make_shard(EmbeddingShard.objects.get(), lambda done, total: None) is False
    assert shards(index) == [(0, 4, "grouped")]


def test_of_two_workers_that_make_the_same_shard_one_wins_and_the_other_leaves_nothing(
    policy: Policy, make_snippets: Make, encoder: BagEncoder, gauntlet_home: Path
) -> None:
    make_snippets(3)
    index = index_of(policy)
    plan_shards(index, pending(index, most=9))
    first, second = EmbeddingShard.objects.get(), EmbeddingShard.objects.get()
    make_shard(first, lambda done, total: None)
    kept = EmbeddingShard.objects.get().artifact
    assert kept is not None
    assert make_shard(second, lambda done, total: None) is False
    assert EmbeddingShard.objects.get().artifact == kept
    assert open_shard(EmbeddingShard.objects.get(), verify=True).keys.size == 3
    folder = gauntlet_home / "index" / str(index.pk)
    assert sorted(path.name for path in folder.iterdir()) == sorted([kept.file.name, "000000.groups.npy"])
    assert Artifact.objects.count() == 2


def test_planning_twice_plans_nothing_twice(policy: Policy, make_snippets: Make, encoder: BagEncoder) -> None:
    rows = make_snippets(6)
    index = index_of(policy)
    assert [one.count for one in plan_shards(index, keys(rows[:4]), stream="a round")] == [4]
    assert [one.count for one in plan_shards(index, keys(rows))] == [2]
    assert plan_shards(index, keys(rows)) == []
    assert lacking(index, keys(rows)).size == 0
    assert [one.number for one in index.shards.all()] == [0, 1]
    assert vectors_of(index, [row.pk for row in rows]).keys.size == 0, "planned is not embedded"


def test_near_duplicates_share_the_group_of_the_first(policy: Policy, make_snippets: Make, encoder: BagEncoder) -> None:
    rows = make_snippets(5)
    twin = Snippet.objects.create(
        policy=policy,
        prompt=rows[1].prompt,
        completion=rows[1].completion.upper(),
        content_hash="twin",
        root_hash="twin",
        source="manual",
        split="train",
    )
    other = make_snippets(1, first=77, completion="Quite another thing happened to somebody else far away.")[0]
    refresh(policy)
    index = index_of(policy)
    found = vectors_of(index, [rows[1].pk, twin.pk, other.pk])
    groups = dict(zip(ids_of(found.keys), ids_of(found.groups), strict=True))
    assert groups[twin.pk] == groups[rows[1].pk]
    assert groups[other.pk] == other.pk
    assert EmbeddingShard.objects.filter(index=index).count() == 2, "across shards"


def test_a_shard_is_grouped_after_those_before_it_in_its_stream_alone(
    policy: Policy, make_snippets: Make, encoder: BagEncoder
) -> None:
    rows = make_snippets(9)
    index = index_of(policy)
    first, second = plan_shards(index, keys(rows[:6]), size=3)
    (own,) = plan_shards(index, keys(rows[6:]), stream="round")
    make_shard(own, lambda done, total: None)
    assert [state for *_, state in shards(index)] == ["planned", "planned", "grouped"]
    make_shard(second, lambda done, total: None)
    assert [state for *_, state in shards(index)] == ["planned", "embedded", "grouped"]
    make_shard(first, lambda done, total: None)
    assert [state for *_, state in shards(index)] == ["grouped"] * 3


@pytest.mark.parametrize("name", ["keys", "vectors", "codes", "groups"])
@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_a_damaged_shard_is_named_and_made_again(
    policy: Policy, make_snippets: Make, encoder: BagEncoder, gauntlet_home: Path, name: str, damage: str
) -> None:
    make_snippets(8)
    refresh(policy)
    index = index_of(policy)
    shard = index.shards.get(number=1)
    file = gauntlet_home / (shard.groups.path if name == "groups" else f"{shard.artifact.path}/{name}.npy")
    content = bytearray(file.read_bytes())
    if damage == "flip":
        content[-1] ^= 1
        file.write_bytes(content)
    elif damage == "cut":
        file.write_bytes(content[:-5])
    else:
        file.unlink()
    assert index_verify(index) == ["shard 1 of minilm version"]
    assert index_verify(index) == []
    assert shards(index) == [(0, 4, "grouped")]
    refresh(policy)
    assert [count for _, count, _ in shards(index)] == [4, 4]
    assert sorted(held_keys(index)) == sorted(Snippet.objects.values_list("pk", flat=True))


def test_a_reader_names_the_damaged_shard(
    policy: Policy, make_snippets: Make, encoder: BagEncoder, gauntlet_home: Path
) -> None:
    rows = make_snippets(4)
    refresh(policy)
    shard = EmbeddingShard.objects.get()
    shutil.rmtree(gauntlet_home / shard.artifact.path)
    with pytest.raises(CorruptShard, match=r"shard 0 of minilm version \(4 snippets\) cannot be read"):
        vectors_of(index_of(policy), [rows[0].pk])


def test_an_encoder_in_a_folder_that_is_not_there_is_refused_at_once(policy: Policy, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"encoder: there is no folder .*nowhere"):
        index_rebuild(policy, str(tmp_path / "nowhere"))
    assert not EmbeddingIndex.objects.exists()
    assert not Job.objects.exists()


def test_a_rebuilt_index_takes_over_when_it_is_whole(
    policy: Policy, make_snippets: Make, encoder: BagEncoder, gauntlet_home: Path
) -> None:
    rows = make_snippets(6)
    refresh(policy)
    old = index_of(policy)
    job = index_rebuild(policy, "another")
    assert index_rebuild(policy, "another").pk == job.pk
    with pytest.raises(BadInput, match="an index by 'another' is being built"):
        index_rebuild(policy, "third")
    run_due_job()
    run_due_job()
    assert index_of(policy).pk == old.pk, "the old one serves meanwhile"
    assert vectors_of(old, [row.pk for row in rows]).keys.size == 6
    work()
    new = index_of(policy)
    assert (new.encoder, new.version, new.state) == ("another", "version of another", "current")
    assert EmbeddingIndex.objects.count() == 1
    assert len(encoder.given) == 12
    assert [path.name for path in (gauntlet_home / "index").iterdir()] == [str(new.pk)]
    assert all(str(new.pk) in path for path in Artifact.objects.values_list("path", flat=True))
    assert vectors_of(new, [row.pk for row in rows]).keys.size == 6


def test_a_rebuild_by_an_encoder_that_is_not_there_can_be_taken_back(
    policy: Policy, make_snippets: Make, encoder: BagEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_snippets(6)
    refresh(policy)

    def missing(name: str, precision: str) -> Loaded:
        raise MissingModel(f"cannot load {name}")

    with monkeypatch.context() as patched:
        patched.setattr(index_shards, "_loaded", missing)
        job = index_rebuild(policy, "mistyped")
        work()
    job.refresh_from_db()
    assert (job.state, job.error) == (JobState.FAILED, "shard 0: cannot load mistyped")
    make_snippets(1, first=50)
    EmbeddingIndex.objects.filter(encoder="minilm").update(follows=False)
    assert indexes_follow() == 0, "it would fail each minute"
    assert index_rebuild(policy, "mistyped").pk > job.pk, "asked for again it is tried again"
    with pytest.raises(BadInput, match="an index by 'mistyped' is being built"):
        index_rebuild(policy, "right")
    Job.objects.filter(state=JobState.QUEUED).update(state=JobState.FAILED)
    index_rebuild(policy, "right")
    work()
    assert list(EmbeddingIndex.objects.values_list("encoder", "state")) == [("right", "current")]
    assert held_keys(index_of(policy)) == list(Snippet.objects.order_by("pk").values_list("pk", flat=True))


def test_a_shard_made_for_an_index_that_is_no_more_leaves_nothing(
    policy: Policy, make_snippets: Make, encoder: BagEncoder, gauntlet_home: Path
) -> None:
    make_snippets(3)
    index = index_of(policy)
    plan_shards(index, pending(index, most=9))
    index.learn(version="version of minilm", precision="fp32", dimension=16)
    shard = EmbeddingShard.objects.select_related("index__policy").get()
    EmbeddingIndex.objects.all().delete()
    assert make_shard(shard, lambda done, total: None) is False
    assert not list((gauntlet_home / "index").iterdir())
    assert not Artifact.objects.exists()


def test_an_encoder_of_another_version_is_refused_by_name(policy: Policy, make_snippets: Make, tmp_path: Path) -> None:
    make_snippets(3)
    folder = write_encoder(tmp_path / "encoder")
    index = EmbeddingIndex.objects.create(policy=policy, encoder=str(folder))
    assert refresh(policy).state == JobState.SUCCEEDED
    index.refresh_from_db()
    assert (len(index.version), index.dimension) == (64, 32)
    tokenizer = folder / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text().replace('"knight"', '"night"'))
    with pytest.raises(
        BadInput, match=f"sentence encoder '{folder}': on this machine is of version .*tokenizer differ"
    ):
        encoder_for(index)
    make_snippets(1, first=50)
    job = refresh(policy)
    assert job.state == JobState.FAILED
    assert f'`manage.py index "{policy}" --rebuild`' in job.error
    assert index.shards.filter(state=ShardState.GROUPED).count() == 1, "what was there stays"
    rebuilt = index_rebuild(policy)
    work()
    rebuilt.refresh_from_db()
    assert rebuilt.state == JobState.SUCCEEDED
    assert index_of(policy).version not in ("", index.version)


def test_the_command_builds_and_tells(
    policy: Policy, make_snippets: Make, encoder: BagEncoder, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("index", "--status")
    assert "No index yet" in capsys.readouterr().out
    with pytest.raises(CommandError, match="no policy 'nobody'; there are: harm"):
        call_command("index", "nobody")
    with pytest.raises(CommandError, match="another needs --rebuild"):
        call_command("index", "harm", encoder="other")


@pytest.mark.django_db(transaction=True)
def test_the_command_takes_over_what_a_killed_one_left_running(
    policy: Policy, make_snippets: Make, encoder: BagEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_snippets(3)
    monkeypatch.setattr(index_refresh, "LOOK_SECONDS", 0.05)
    job = index_refresh.index_refresh(policy)
    assert run_due_job()
    left = Job.objects.filter(kind="embed_shard")
    assert left.update(state=JobState.RUNNING, lease_token=uuid.uuid4(), lease_expires_at=timezone.now()) == 1
    naps = iter(range(100))

    def nap(_: float) -> None:
        assert next(naps, None) is not None, "it waits for a sweeper that is not there"
        threading.Event().wait(0.02)

    monkeypatch.setattr(index_command, "time", SimpleNamespace(sleep=nap))
    index_command._run(job)
    job.refresh_from_db()
    assert job.state == JobState.SUCCEEDED
    assert left.get().state == JobState.SUCCEEDED
    assert shards(index_of(policy)) == [(0, 3, "grouped")]


@pytest.mark.django_db(transaction=True)
def test_any_number_of_workers_plan_at_once_and_nothing_is_planned_twice(
    policy: Policy, make_snippets: Make, encoder: BagEncoder
) -> None:
    rows = make_snippets(40)
    index = index_of(policy)
    begin = threading.Barrier(4)

    def plan(_: int) -> None:
        try:
            begin.wait(10)
            for start in range(0, 40, 10):
                plan_shards(index, keys(rows[start : start + 20]), size=6)
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(plan, range(4))) == [None] * 4
    planned = [key for shard in index.shards.all() for key in ids_of(index_plan.keys_of(shard))]
    assert sorted(planned) == sorted(row.pk for row in rows)
    numbers = list(index.shards.values_list("number", flat=True))
    assert numbers == list(range(len(numbers)))
