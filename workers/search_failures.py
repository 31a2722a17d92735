"""Rare failures of a round's filtered generator, searched by splitting: machine-scored, candidates for people to judge.

A state is a prompt of the test split and a completion. The event: the filter accepts it and the judge, another
classifier, scores it at or above its own threshold. Nothing here is a label.
"""

from __future__ import annotations

import fcntl
import json
import math
from collections.abc import Mapping, Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.classifiers import Classifier as Scorer
from engine.endpoints.settings import Account
from engine.errors import BadInput
from engine.evaluation.splitting import Settings, Splitting, checked, split
from engine.generation import Generator
from engine.generation.continuing import Continuing, Redrawn, Suffixes
from engine.generation.rejection import accepts, logit_cutoff
from engine.progress import Progress
from engine.snippets import Snippet as SnippetText
from webapi.models import Classifier, Round, SplitName
from workers.artifacts import writing
from workers.generate import corpus_of, generator_of
from workers.round_settings import round_settings
from workers.scoring import load_classifier, threshold_of

MACHINE_SCORED = "machine-scored: no person has judged any of these"


class Searched(NamedTuple):
    """The probability and what was found."""

    splitting: Splitting
    prompts: int
    kernel: str
    """In words: what a move changes."""
    rows: list[dict[str, Any]]
    """Candidates as plain JSON, those that the judge finds worst first."""


class Kept:
    """Logits on disk, so that a search that was broken off scores no text twice: JSON lines, the first says whose. One
    search at a time has the file, until it ends or dies."""

    def __init__(self, path: Path, whose: Sequence[str | None]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self._whose, self._file = path, list(whose), path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise BadInput(f"another search keeps its scores in {path}", where="out") from None

    def read(self) -> dict[SnippetText, tuple[float, float]]:
        """What was kept; nothing, and a file begun anew, where it is another's or ends in its first line."""
        self._file.seek(0)
        whole = [json.loads(line) for line in self._file if line.endswith("\n")]  # a kill may have cut the last one
        if not whole or whole[0] != self._whose:
            whole = [self._whose]
        self._file.truncate(0)
        self._write(whole)
        return {SnippetText(prompt, completion): (guard, judge) for prompt, completion, guard, judge in whole[1:]}

    def add(self, found: Mapping[SnippetText, tuple[float, float]]) -> None:
        """More of them."""
        self._write([[text.prompt, text.completion, *logits] for text, logits in found.items()])

    def close(self) -> None:
        """Lets another search have the file."""
        self._file.close()

    def _write(self, rows: Sequence[Sequence[Any]]) -> None:
        self._file.write("".join(json.dumps(row) + "\n" for row in rows))
        self._file.flush()


class Margins:
    """Score of a state: how far it is from the event's border, in logits; at least 0 iff it is the event."""

    def __init__(self, guard: Scorer, at: float, judge: Scorer, judge_at: float, kept: Kept | None = None) -> None:
        self._guard, self._judge, self._at, self._judge_at, self._kept = guard, judge, at, judge_at, kept
        self.seen: dict[SnippetText, tuple[float, float]] = kept.read() if kept else {}
        """Logits by filter and judge of every text that was scored: an equal one is not scored again."""

    def __call__(self, states: NDArray[Any]) -> NDArray[np.float64]:
        """(n,); -inf for an empty completion."""
        texts = [state.snippet for state in states]
        new = list(dict.fromkeys(text for text in texts if text.completion and text not in self.seen))
        if new:
            logits = (self._guard.logits(new).tolist(), self._judge.logits(new).tolist())
            found = dict(zip(new, zip(*logits, strict=True), strict=True))
            self.seen |= found
            if self._kept:
                self._kept.add(found)
        return np.array([self._margin(text) for text in texts])

    def _margin(self, text: SnippetText) -> float:
        if not text.completion:
            return -math.inf
        guard, judge = self.seen[text]
        cutoff, severe = float(logit_cutoff(self._at)), float(logit_cutoff(self._judge_at))
        margin = min(cutoff - guard, judge - severe)
        # The border itself is decided by the rule that decides everywhere, not by the sign of a difference.
        event = bool(accepts(guard, self._at)) and not bool(accepts(judge, self._judge_at))
        return max(margin, 0.0) if event else min(margin, -1e-9)


def search(
    round_: Round,
    guard: Classifier,
    judge: Classifier,
    *,
    settings: Settings,
    seed: int,
    progress: Progress,
    keep: Path | None = None,
) -> Searched:
    """Scores are kept at `keep` as they come, and taken from there. Raises BadInput where filter and judge are one,
    `settings` make no sense or another search keeps its scores there, and what loading the classifiers or the generator
    raises.
    """
    checked(settings)
    if guard.pk == judge.pk:
        raise BadInput("filter and judge are the same classifier: they never disagree", where="judge")
    if round_settings(round_.config).generator.name == "openai":
        raise BadInput("the round's generator is an endpoint: splitting would ask it thousands of times", where="round")
    rows = corpus_of(round_, SplitName.TEST)
    generator = generator_of(round_, rows, Account(None, None))
    pool = list(dict.fromkeys(row.prompt for row in rows))
    if not pool:
        raise BadInput("the round's corpus has no prompt of the test split", where="round")
    kernel = kernel_of(generator, pool)
    whose = [_weights(guard), _weights(judge)]
    with closing(Kept(keep, whose)) if keep else nullcontext() as kept:
        score = Margins(load_classifier(guard), threshold_of(guard), load_classifier(judge), threshold_of(judge), kept)
        found = split(kernel, score, 0.0, settings=settings, seed=seed, progress=progress)
    texts = list(dict.fromkeys(state.snippet for state in found.found))
    worst = sorted(texts, key=lambda text: -score.seen[text][1])
    return Searched(found, len(pool), kernel.what, [_row(text, *score.seen[text], guard, judge) for text in worst])


def kernel_of(generator: Generator, pool: Sequence[str]) -> Suffixes | Redrawn:
    """Moves of suffixes where the generator can go on from a prefix, else of whole completions."""
    return Suffixes(generator, pool) if isinstance(generator, Continuing) else Redrawn(generator, pool)


def write_candidates(found: Searched, path: Path) -> None:
    """JSON lines, the whole file or none."""
    with writing(path) as temporary:
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in found.rows)
        temporary.write_text(text, encoding="utf-8")


def _weights(row: Classifier) -> str | None:
    return f"{row.artifact.sha256} {row.precision}" if row.artifact else None


def _row(text: SnippetText, logit: float, judged: float, guard: Classifier, judge: Classifier) -> dict[str, Any]:
    return {
        "prompt": text.prompt,
        "completion": text.completion,
        "filter": str(guard.pk),
        "filter_logit": logit,
        "judge": str(judge.pk),
        "judge_logit": judged,
        "judged_by": MACHINE_SCORED,
    }
