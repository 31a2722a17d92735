"""Job `import_hatemoji`: adversarial rounds written by people become snippets with their gold labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.corpus.hatemoji import Entry, read_hatemoji
from webapi.models import Annotator, Label, Policy, Snippet, Source
from workers.aggregate import aggregate
from workers.conditions import Condition, Dataset
from workers.jobs import JobRun, chunked

CHUNK = 2000
VENDOR = "hatemoji"
ROUND = "hatemoji"
"""Key of a snippet's `details` that holds the number of its round."""


def import_hatemoji(run: JobRun) -> dict[str, Any]:
    """Loads the three files of the folder `run.args["path"]` under the policy `run.args["policy"]`.

    A perturbation's parent is its original, so that a pair keeps one split; equal texts share a root with their pairs.
    Run again, or after a kill, it adds what is missing and nothing twice. Raises BadInput naming file and line.
    """
    policy = Policy.objects.get(pk=run.args["policy"])
    entries = read_hatemoji(Path(run.args["path"]))
    gold, _ = Annotator.objects.get_or_create(
        vendor=VENDOR, external_id="gold", defaults={"name": "HatemojiBuild gold labels"}
    )
    total = 2 * len(entries)
    originals = [one for one in entries if one.original]
    perturbed = [one for one in entries if not one.original]
    for entries_of_kind in (originals, perturbed):
        known = _known(policy)
        for chunk in chunked(entries_of_kind, CHUNK):
            Snippet.objects.bulk_create([_row(policy, one, known) for one in chunk], ignore_conflicts=True)
            run.progress(len(known), total)
    known = _known(policy)
    choices = {True: policy.rules.failure, False: policy.rules.harmless}
    for chunk in chunked(entries, CHUNK):
        labels = [Label(snippet=known[_key(one.number)], annotator=gold, choice=choices[one.failure]) for one in chunk]
        Label.objects.bulk_create(labels, ignore_conflicts=True)
    ids = [known[_key(one.number)].pk for one in entries]
    return {"snippets": len(ids), "labels": len(ids), "consensus": aggregate(policy, ids, run.progress)}


def conditions_by_round(rounds: list[int]) -> list[Condition]:
    """Training on the first round, on the first two, and so on."""
    datasets = [Dataset(name=f"round {number}", details={ROUND: number}) for number in rounds]
    names = ["+".join(map(str, rounds[: i + 1])) for i in range(len(rounds))]
    return [Condition(name=name, datasets=tuple(datasets[: i + 1])) for i, name in enumerate(names)]


def _known(policy: Policy) -> dict[str, Snippet]:
    rows = Snippet.objects.filter(policy=policy, external_id__startswith=f"{VENDOR}-").only("pk", "external_id")
    return {row.external_id: row for row in rows}


def _key(number: int) -> str:
    return f"{VENDOR}-{number}"


def _row(policy: Policy, one: Entry, known: dict[str, Snippet]) -> Snippet:
    return Snippet(
        policy=policy,
        prompt="",
        completion=one.snippet.completion,
        content_hash=one.snippet.content_hash,
        root_hash=one.root,
        split=one.split,
        source=Source.MANUAL if one.original else Source.REWRITE,
        parent=None if one.original else known[_key(one.matched)],
        external_id=_key(one.number),
        details={ROUND: one.round, "published_split": one.published},
    )
