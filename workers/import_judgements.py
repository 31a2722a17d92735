"""Job `import_judgements`: a crowd's judgements from two CSV files become snippets, annotators and labels."""

from __future__ import annotations

import csv
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from engine.errors import BadInput
from engine.snippets import Snippet as SnippetText
from engine.snippets import refusals, split_of
from labeling_adapters.recorded import CHOICE
from webapi.models import Annotator, Label, Policy, Snippet, Source
from workers.aggregate import aggregate
from workers.jobs import JobRun, chunked
from workers.snippet_rows import token_counter_of

CHUNK = 2000


class Judgement(NamedTuple):
    """One line of `annotations.csv`."""

    line: int
    number: str
    comment_id: str
    worker: str
    choice: str


def import_judgements(run: JobRun) -> dict[str, Any]:
    """Loads `comments.csv` (comment_id, comment_text) and `annotations.csv` (annotation, comment_id, worker, ..., all
    toxic, not toxic) of the folder `run.args["path"]` under the policy `run.args["policy"]`.

    Run again, or after a kill, it adds what is missing and nothing twice. A worker who judged a comment several times
    gets one label a judgement, as revisions. Raises BadInput naming file and line, also of a comment that the policy's
    snippet rules refuse, before anything is written. `labels`: how many comments of each split come with their
    judgements, by chance; null: all. None given: everything does.
    """
    folder, policy = Path(run.args["path"]), Policy.objects.get(pk=run.args["policy"])
    comments = _comments(folder / "comments.csv", policy)
    judgements = _judgements(folder / "annotations.csv", comments)
    if (most := run.args.get("labels")) is not None:
        wanted = _labelled(comments, most)
        judgements = [judgement for judgement in judgements if judgement.comment_id in wanted]
    total = len(comments) + len(judgements)
    snippets = _write_comments(comments, policy, run, total)
    workers = _write_workers({j.worker for j in judgements}, folder.name)
    for done, chunk in enumerate(chunked(_labels(judgements, snippets, workers), CHUNK)):
        run.progress(len(comments) + done * CHUNK, total)
        Label.objects.bulk_create(chunk, ignore_conflicts=True)
    judged = list(dict.fromkeys(snippets[judgement.comment_id] for judgement in judgements))
    consensus = aggregate(policy, judged, run.progress)
    return {"snippets": len(snippets), "annotators": len(workers), "labels": len(judgements), "consensus": consensus}


def _labelled(comments: dict[str, SnippetText], most: Mapping[str, int | None]) -> set[str]:
    """The comments that come with judgements: of each split that is named the first by their hashes."""
    found: dict[str, list[tuple[str, str]]] = {split: [] for split in most}
    for key, text in comments.items():
        digest = text.content_hash
        if (split := split_of(digest)) in found:
            found[split].append((digest, key))
    return {key for split, pairs in found.items() for _, key in sorted(pairs)[: most[split]]}


def _lines(path: Path, columns: set[str]) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            missing = columns - set(reader.fieldnames or ())
            if missing:
                raise BadInput(f"lacks the columns {', '.join(sorted(missing))}", where=str(path))
            for row in reader:
                if any(row[column] is None for column in columns):
                    raise BadInput("has too few columns", where=f"{path}, line {reader.line_num}")
                yield reader.line_num, row
    except OSError as error:
        raise BadInput(error.strerror or str(error), where=str(path)) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"not a CSV file in UTF-8: {error}", where=str(path)) from error


def _comments(path: Path, policy: Policy) -> dict[str, SnippetText]:
    comments: dict[str, SnippetText] = {}
    rules, count_tokens = policy.rules.snippet_rules, token_counter_of(policy)
    for line, row in _lines(path, {"comment_id", "comment_text"}):
        if not row["comment_text"].strip():
            raise BadInput("comment_text is empty", where=f"{path}, line {line}")
        text = SnippetText("", row["comment_text"])
        for reason in refusals(text, rules, count_tokens=count_tokens):
            raise BadInput(f"{reason.detail} ({reason.code})", where=f"{path}, line {line}")
        comments[row["comment_id"]] = text
    return comments


def _judgements(path: Path, comments: dict[str, SnippetText]) -> list[Judgement]:
    judgements = []
    for line, row in _lines(path, {"annotation", "comment_id", "worker", "all toxic", "not toxic"}):
        if row["comment_id"] not in comments:
            raise BadInput(f"no comment {row['comment_id']} in comments.csv", where=f"{path}, line {line}")
        boxes = row["all toxic"], row["not toxic"]
        if boxes not in CHOICE:
            raise BadInput("`all toxic` and `not toxic` must be True or False", where=f"{path}, line {line}")
        judgements.append(Judgement(line, row["annotation"], row["comment_id"], row["worker"], CHOICE[boxes]))
    return judgements


def _write_comments(comments: dict[str, SnippetText], policy: Policy, run: JobRun, total: int) -> dict[str, uuid.UUID]:
    for done, chunk in enumerate(chunked(comments.items(), CHUNK)):
        run.progress(done * CHUNK, total)
        Snippet.objects.bulk_create([_snippet(key, text, policy) for key, text in chunk], ignore_conflicts=True)
    known = Snippet.objects.filter(policy=policy).exclude(external_id="").values_list("external_id", "pk")
    return {key: pk for key, pk in known.iterator() if key in comments}


def _snippet(external_id: str, text: SnippetText, policy: Policy) -> Snippet:
    digest = text.content_hash
    return Snippet(
        policy=policy,
        prompt="",
        completion=text.completion,
        content_hash=digest,
        root_hash=digest,
        split=split_of(digest),
        source=Source.CORPUS,
        external_id=external_id,
    )


def _write_workers(names: set[str], vendor: str) -> dict[str, uuid.UUID]:
    rows = [Annotator(vendor=vendor, external_id=name, name=f"{vendor} {name}") for name in sorted(names)]
    Annotator.objects.bulk_create(rows, ignore_conflicts=True, batch_size=CHUNK)
    return dict(Annotator.objects.filter(vendor=vendor).values_list("external_id", "pk"))


def _labels(
    judgements: list[Judgement], snippets: dict[str, uuid.UUID], workers: dict[str, uuid.UUID]
) -> Iterator[Label]:
    times: Counter[tuple[str, str]] = Counter()
    for judgement in judgements:
        pair = judgement.comment_id, judgement.worker
        yield Label(
            snippet_id=snippets[judgement.comment_id],
            annotator_id=workers[judgement.worker],
            choice=judgement.choice,
            revision=times[pair],
            external_id=judgement.number,
        )
        times[pair] += 1
