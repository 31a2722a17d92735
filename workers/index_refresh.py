"""Keeping an index up to its policy: what is in no shard is planned and embedded; a rebuilt one takes over at the end.

One job an index, `refresh_index`, plans a few shards ahead of the workers, each a job of its own, and comes back to
look. It holds no worker meanwhile. Whatever is killed, the rows say what is planned, embedded and grouped.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction

from engine.errors import BadInput
from webapi.models import EmbeddingIndex, EmbeddingShard, IndexState, Job, JobState, Policy, ShardState, Snippet, User
from webapi.models.base import locked
from workers.index_files import CorruptShard, drop_files, open_shard
from workers.index_groups import group_stream
from workers.index_plan import SHARD, deficit, held, index_of, pending, plan_shards
from workers.index_shards import mend
from workers.jobs import JobRun, Later, enqueue

logger = logging.getLogger(__name__)

REFRESH, EMBED = "refresh_index", "embed_shard"
UNFINISHED = (JobState.QUEUED, JobState.RUNNING)
LOOK_SECONDS = 1.0
FOLLOW_SECONDS = 60.0
"""How often a process looks whether snippets have arrived in policies whose index follows."""
_looked = 0.0


def index_refresh(policy: Policy, *, follow: bool = True, created_by: User | None = None) -> Job:
    """Has the policy's index embed all that it lacks, and from now on what arrives. The job, or the one under way."""
    index = EmbeddingIndex.objects.filter(policy=policy, state=IndexState.BUILDING).first() or index_of(policy)
    if follow and not index.follows:
        EmbeddingIndex.objects.filter(pk=index.pk).update(follows=True)
    return _queued(index, created_by)


def index_rebuild(policy: Policy, encoder: str | None = None, *, created_by: User | None = None) -> Job:
    """Builds an index anew beside the current one, by this encoder or the same, and then puts it in its place.

    One that failed by another encoder makes room. Raises BadInput where one by another encoder is under way, or for a
    folder that is not there.
    """
    if encoder and Path(encoder).is_absolute() and not Path(encoder).is_dir():
        raise BadInput(f"there is no folder {encoder}", where="encoder")
    current = index_of(policy)
    _make_room(policy, encoder or current.encoder)
    try:
        with transaction.atomic():
            made, _ = EmbeddingIndex.objects.get_or_create(
                policy=policy,
                state=IndexState.BUILDING,
                defaults={"encoder": encoder or current.encoder, "follows": True},
            )
    except IntegrityError:  # another request made it
        made = EmbeddingIndex.objects.get(policy=policy, state=IndexState.BUILDING)
    if encoder and made.encoder != encoder:
        raise BadInput(f"an index by {made.encoder!r} is being built; let it end first", where="encoder")
    return _queued(made, created_by)


def _make_room(policy: Policy, encoder: str) -> None:
    """Drops the index that is building by another encoder, if it has failed: nothing else would ever end it."""
    with transaction.atomic():
        building = EmbeddingIndex.objects.filter(policy=policy, state=IndexState.BUILDING).exclude(encoder=encoder)
        failed = [index.pk for index in locked(building) if _has_failed(index)]
        EmbeddingIndex.objects.filter(pk__in=failed).delete()
    for key in failed:
        drop_files(key)


def _has_failed(index: EmbeddingIndex) -> bool:
    last = Job.objects.filter(kind=REFRESH, args__index=str(index.pk)).order_by("-pk").first()
    return last is not None and last.state in (JobState.FAILED, JobState.CANCELLED)


def _queued(index: EmbeddingIndex, created_by: User | None) -> Job:
    with transaction.atomic():
        list(locked(EmbeddingIndex.objects.filter(pk=index.pk)).values_list("pk"))
        under_way = Job.objects.filter(kind=REFRESH, state__in=UNFINISHED, args__index=str(index.pk)).first()
        return under_way or enqueue(REFRESH, {"index": str(index.pk)}, created_by=created_by)


def refresh_index(run: JobRun) -> dict[str, Any]:
    """Job `refresh_index`: looks how far the index `args["index"]` is, plans what comes next, and comes back."""
    index = EmbeddingIndex.objects.select_related("policy").filter(pk=run.args["index"]).first()
    if index is None:
        return {"dropped": True}
    try:
        open_ = _step(index, run)
    except CorruptShard as error:
        mend(error)
        raise Later(LOOK_SECONDS) from error
    done = held(index.shards.exclude(state=ShardState.PLANNED))
    total = max(Snippet.objects.filter(policy=index.policy_id).count(), done)
    run.progress(done, total)
    if open_:
        run.beat()
        raise Later(LOOK_SECONDS)
    if index.state == IndexState.BUILDING:
        _take_over(index)
    return {"snippets": done, "shards": index.shards.count()}


def _step(index: EmbeddingIndex, run: JobRun) -> bool:
    """Plans ahead and sees that every planned shard has a job. Whether anything is left to wait for."""
    ahead = 1 if settings.EMBEDDED else 16
    room = ahead - index.shards.filter(state=ShardState.PLANNED).count()
    if room > 0:
        plan_shards(index, pending(index, most=room * SHARD))
    planned = list(index.shards.filter(state=ShardState.PLANNED).select_related("job"))
    for shard in planned:
        _have_made(shard, run.job)
    if not planned:
        for stream in set(index.shards.filter(state=ShardState.EMBEDDED).values_list("stream", flat=True)):
            group_stream(index, stream, progress=lambda *_: run.look())
    return bool(planned) or deficit(index) > 0


def _have_made(shard: EmbeddingShard, refresh: Job) -> None:
    """A job for the shard; if one has failed since the refresh was asked for, so has this. Raises BadInput."""
    last = shard.job
    if last is not None and last.state in UNFINISHED:
        return
    if last is not None and last.state == JobState.FAILED and last.pk > refresh.pk:
        raise BadInput(last.error, where=f"shard {shard.number}")
    with transaction.atomic():
        job = enqueue(EMBED, {"shard": str(shard.pk)}, queue="scoring")
        EmbeddingShard.objects.filter(pk=shard.pk).update(job=job)


def _take_over(index: EmbeddingIndex) -> None:
    """The old index's shards stay until this moment; its files go when nobody can find them any more."""
    old = EmbeddingIndex.objects.filter(policy=index.policy_id, state=IndexState.CURRENT).values_list("pk", flat=True)
    keys = list(old)
    if index.take_over():
        for key in keys:
            drop_files(key)


def index_verify(index: EmbeddingIndex) -> list[str]:
    """Reads every shard's files and forgets those that are not what was written. Says which; a refresh makes them."""
    broken = []
    for shard in index.shards.exclude(state=ShardState.PLANNED).select_related("artifact", "groups", "index__policy"):
        try:
            open_shard(shard, verify=True)
        except CorruptShard as error:
            broken.append(mend(error))
    return broken


def indexes_follow() -> int:
    """Queues a refresh of each index that follows and lacks snippets. Returns of how many; looks once a minute.

    One that failed while it was building waits to be asked for again: it would fail each minute.
    """
    global _looked
    now = time.monotonic()
    if now - _looked < FOLLOW_SECONDS:
        return 0
    _looked = now
    behind = [one for one in EmbeddingIndex.objects.filter(follows=True).select_related("policy") if deficit(one) > 0]
    behind = [one for one in behind if one.state == IndexState.CURRENT or not _has_failed(one)]
    for index in behind:
        _queued(index, None)
    return len(behind)
