"""Labels to consensus by the policy's rule; followed as labels arrive, with the history of every change."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from engine.aggregation import ConfusionModel, rule_named, update_items, vote_table
from engine.aggregation.aggregated import decide
from webapi.models import AnnotatorModel, Consensus, ConsensusChange, Job, JobState, Label, Policy, Snippet
from webapi.models.base import first_id_at, locked
from workers.audits import audits_answered
from workers.jobs import JobRun, chunked, enqueue
from workers.votes import Voted, votes_of

CHUNK = 1000
OVERLAP = timedelta(minutes=2)
"""How long a label may take from its key's time to its transaction's end and still be seen."""
LOOK_AGAIN = timedelta(seconds=30)
"""How often snippets labelled within `OVERLAP` are looked at again, for labels whose transaction ended meanwhile."""
FIT_AGAIN = 1.1
"""Annotators are estimated anew once there are so many times the labels."""
Progress = Callable[[int, int], None]
Votes = Mapping[uuid.UUID, Sequence[Voted]]


def aggregate_round(run: JobRun) -> dict[str, Any]:
    """Stages `aggregate_first` and `aggregate`: the consensus of every snippet labelled in the round."""
    snippets = Snippet.objects.filter(tasks__batch__round=run.round, tasks__gold=None, tasks__rival=None).distinct()
    ids = list(snippets.values_list("pk", flat=True))
    return {"consensus": aggregate(run.round.policy, ids, run.progress)}


def aggregate(policy_row: Policy, ids: Sequence[uuid.UUID], progress: Progress) -> int:
    """Writes the consensus of these snippets; where it changes, its history too. Run again it changes nothing.

    Rules that estimate annotators do so anew, from all labels under the policy.
    """
    known = _estimate(policy_row) if rule_named(policy_row.rules.aggregation).joint else NOTHING
    return _aggregate(policy_row, ids, known, progress)


def follow(run: JobRun) -> dict[str, Any]:
    """Job `follow_labels`: brings the consensus of a policy's newly labelled snippets up to date, audited ones too;
    and ends audits that were answered elsewhere.

    `withdrawn_by`: and of those where this annotator's labels were taken out of the count. O(new labels): annotators
    are estimated anew only when a tenth more labels are there or some were withdrawn (with GLAD, which judges snippets
    too, each time), and their other snippets' posteriors change only then.
    """
    policy = Policy.objects.get(pk=run.args["policy"])
    began = timezone.now()
    state, _ = AnnotatorModel.objects.get_or_create(policy=policy)
    withdrawn = _withdrawn(policy, run.args.get("withdrawn_by"))
    joint = rule_named(policy.rules.aggregation).joint
    known = _known(state)
    stale = known.model is None or withdrawn or _votes_under(policy).count() >= state.labels * FIT_AGAIN
    new = _labelled_since(policy, state.upto)
    if joint and stale:
        done = aggregate(policy, list({*_labelled_since(policy, None), *withdrawn}), run.progress)
    else:
        done = _aggregate(policy, list({*new, *withdrawn}), known, run.progress)
    audits_answered(new)
    AnnotatorModel.objects.filter(policy=policy).update(upto=began)
    return {"consensus": done}


def labels_follow(now: datetime) -> int:
    """Enqueues `follow_labels` for each policy with labels that its consensus has not seen. Returns how many.

    However long ago they came: after a crash it goes on where it was. Costs one read while no label comes.
    """
    newest = Label.objects.order_by("-pk").values_list("created_at", flat=True).first()
    if newest is None:
        return 0
    jobs = Job.objects.filter(kind="follow_labels", state__in=[JobState.QUEUED, JobState.RUNNING])
    waiting = set(jobs.values_list("args__policy", flat=True))
    started = 0
    for policy, upto in Policy.objects.values_list("pk", "annotator_model__upto"):
        if str(policy) in waiting or (upto is not None and newest <= upto - OVERLAP):
            continue
        if _is_behind(policy, upto, now):
            enqueue("follow_labels", {"policy": str(policy)})
            started += 1
        elif upto is None or now - upto > LOOK_AGAIN:  # only others' labels came: need not be read again
            AnnotatorModel.objects.update_or_create(policy_id=policy, defaults={"upto": now})
    return started


def _is_behind(policy: uuid.UUID, upto: datetime | None, now: datetime) -> bool:
    labels = Label.objects.filter(snippet__policy=policy)
    if upto is not None:
        since = upto - OVERLAP if now - upto > LOOK_AGAIN else upto
        labels = labels.filter(pk__gte=first_id_at(upto - OVERLAP), created_at__gt=since)
    return labels.exists()


def posteriors(policy_row: Policy, votes: Votes) -> dict[uuid.UUID, list[float]]:
    """A probability for each choice by the policy's rule, under what is known of the annotators. O(votes)."""
    state = AnnotatorModel.objects.filter(policy=policy_row).first()
    return _decide(policy_row, votes, _known(state) if state else NOTHING)


class _Known(NamedTuple):
    """What a rule that looks at all labels together found."""

    model: ConfusionModel | None = None
    names: tuple[str, ...] = ()
    """The annotators' keys, in the order of the model's codes."""
    posterior: Mapping[uuid.UUID, list[float]] | None = None
    """Of every snippet, where the rule has no model to apply."""


NOTHING = _Known()


def _votes_under(policy: Policy) -> QuerySet[Label]:
    return Label.objects.filter(snippet__policy=policy, counted=True).order_by()


def _labelled_since(policy: Policy, upto: datetime | None) -> list[uuid.UUID]:
    labels = Label.objects.filter(Q(task=None) | Q(task__gold=None), snippet__policy=policy)
    if upto is not None:
        labels = labels.filter(pk__gte=first_id_at(upto - OVERLAP))
    return list(labels.order_by().values_list("snippet", flat=True).distinct())


def _withdrawn(policy: Policy, annotator: str | None) -> set[uuid.UUID]:
    if annotator is None:
        return set()
    gone = Label.objects.filter(annotator=uuid.UUID(annotator), snippet__policy=policy, withdrawn_at__isnull=False)
    return set(gone.values_list("snippet", flat=True))


def _aggregate(policy_row: Policy, ids: Sequence[uuid.UUID], known: _Known, progress: Progress) -> int:
    AnnotatorModel.objects.get_or_create(policy=policy_row)
    for done, chunk in enumerate(chunked(ids, CHUNK)):
        progress(done * CHUNK, len(ids))
        with transaction.atomic():
            # Of two who aggregate at once the second to write has read the newer votes.
            list(locked(AnnotatorModel.objects.filter(policy=policy_row)).values_list("pk"))
            votes = votes_of(chunk)
            if votes:
                _write(policy_row, votes, _decide(policy_row, votes, known))
            _forget([pk for pk in chunk if pk not in votes])
    progress(len(ids), len(ids))
    return len(ids)


def _decide(policy_row: Policy, votes: Votes, known: _Known) -> dict[uuid.UUID, list[float]]:
    """The posterior of each snippet."""
    if known.posterior is not None:
        return {snippet: known.posterior[snippet] for snippet in votes if snippet in known.posterior}
    plain = [[voted.vote for voted in given] for given in votes.values()]
    table = vote_table(plain, policy_row.rules.choices, annotators=known.names)
    if known.model is not None:
        found = update_items(known.model, table)
    else:
        found = rule_named(policy_row.rules.aggregation).many(table)
    return dict(zip(votes, found.posterior.tolist(), strict=True))


def _write(policy_row: Policy, votes: Votes, posteriors: Mapping[uuid.UUID, list[float]]) -> None:
    rules = policy_row.rules
    codes = decide(np.array(list(posteriors.values())).reshape(len(posteriors), len(rules.choices)))
    rows = [
        Consensus(
            snippet_id=snippet,
            choice=rules.choices[code],
            rule=rules.aggregation,
            labels=len(votes[snippet]),
            posterior=[round(share, 6) for share in posterior],
        )
        for code, (snippet, posterior) in zip(codes, posteriors.items(), strict=True)
    ]
    before = {one.snippet_id: one for one in Consensus.objects.filter(snippet__in=list(votes))}
    changed = [row for row in rows if _differs(row, before.get(row.snippet_id))]
    Consensus.objects.bulk_create(
        changed,
        update_conflicts=True,
        unique_fields=["snippet"],
        update_fields=["choice", "rule", "labels", "posterior", "updated_at"],
    )
    ConsensusChange.objects.bulk_create(
        [
            ConsensusChange(
                snippet_id=row.snippet_id,
                choice=row.choice,
                rule=row.rule,
                posterior=row.posterior,
                labels=[str(voted.label) for voted in votes[row.snippet_id]],
            )
            for row in changed
        ]
    )


def _forget(snippets: Sequence[uuid.UUID]) -> None:
    """Snippets without a vote have no consensus: their labels were withdrawn. The history keeps that they had one."""
    gone = list(Consensus.objects.filter(snippet__in=snippets))
    if gone:
        ConsensusChange.objects.bulk_create(
            [ConsensusChange(snippet_id=one.snippet_id, choice="", rule=one.rule) for one in gone]
        )
        Consensus.objects.filter(pk__in=[one.pk for one in gone]).delete()


def _differs(row: Consensus, before: Consensus | None) -> bool:
    said = (row.choice, row.rule, row.labels, row.posterior)
    return before is None or said != (before.choice, before.rule, before.labels, before.posterior)


def _estimate(policy_row: Policy) -> _Known:
    """The rule's estimate from all labels under the policy; its model of the annotators is kept."""
    ids = list(_votes_under(policy_row).values_list("snippet", flat=True).distinct())
    votes = {pk: given for chunk in chunked(ids, CHUNK) for pk, given in votes_of(chunk).items()}
    plain = [[voted.vote for voted in given] for given in votes.values()]
    table = vote_table(plain, policy_row.rules.choices)
    found = rule_named(policy_row.rules.aggregation).many(table)
    if found.model is None:
        return _Known(posterior=dict(zip(votes, found.posterior.tolist(), strict=True)))
    names = tuple(dict.fromkeys(vote.annotator for group in plain for vote in group))
    parameters = {name: value.tolist() for name, value in found.model._asdict().items()}
    AnnotatorModel.objects.update_or_create(
        policy=policy_row,
        defaults={"parameters": {**parameters, "names": names}, "labels": int(table.items.size)},
    )
    return _Known(found.model, names)


def _known(state: AnnotatorModel) -> _Known:
    """What was kept of the last estimate."""
    kept = dict(state.parameters)
    if not kept:
        return NOTHING
    names = tuple(kept.pop("names"))
    codes = np.array(kept.pop("annotators"), dtype=np.int64)
    return _Known(ConfusionModel(codes, **{name: np.array(value) for name, value in kept.items()}), names)
