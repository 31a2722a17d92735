"""The pairs of completions that a round compares, and what was answered: alternates of its validation prompts.

They are worked out from files that are kept, the same whenever they are asked for, so nothing but tasks and answers
lies between the stage that asks and the stage that counts.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import pyarrow.parquet as pq
from scipy.special import logit

from engine.evaluation.quality_pairs import LEAST, accept_shares, pairs_wanted
from engine.progress import Progress
from engine.snippets import Snippet as SnippetText
from webapi.models import Preference, Preferred, Round, Snippet, SplitName
from workers.artifacts import at_hand
from workers.generate import alternates_path
from workers.jobs import chunked
from workers.round_settings import round_settings
from workers.scoring import kept_alternate_logits, threshold_of
from workers.train import classifier_of, retrained_of

CREDIT = {
    Preferred.FIRST.value: 1.0,
    Preferred.SECOND.value: 0.0,
    Preferred.EQUALLY_GOOD.value: 0.5,
    Preferred.EQUALLY_BAD.value: 0.5,
}
"""What the first completion won."""
CHUNK = 500
Key = tuple[str, str]
"""Content hashes of two completions, the lower first."""
Keys = tuple[uuid.UUID, uuid.UUID]
"""Of their snippets, in the same order."""


class Pair(NamedTuple):
    """Two completions of one prompt, by their places among the alternates."""

    prompt: uuid.UUID
    """The corpus snippet that lent it."""
    first: int
    second: int
    texts: tuple[SnippetText, SnippetText]

    @property
    def key(self) -> Key:
        """The same for the same two texts, whichever comes first: one question serves both."""
        one, other = sorted(text.content_hash for text in self.texts)
        return one, other

    @property
    def decided(self) -> float | None:
        """What the first won where nobody need be asked, against nothing or against itself; else None."""
        spoken = [can_be_shown(text) for text in self.texts]
        if all(spoken) and self.key[0] != self.key[1]:
            return None
        return 0.5 if spoken[0] == spoken[1] else float(spoken[0])


def pairs_of(round_: Round, progress: Progress) -> list[Pair]:
    """The pairs that the round compares, by the rule for M_n at the retrained classifier's threshold.

    A prompt's share is estimated from its last completions on, and its pairs are taken from the first on: where few are
    needed of either, what decides on the number of pairs is not among them.
    """
    wanted, row = round_settings(round_.config), classifier_of(round_, retrained_of(round_))
    draws = wanted.sizes.validation_completions
    logits = kept_alternate_logits(round_, row, SplitName.VALIDATION, progress)
    backwards = logits.reshape(-1, draws)[: wanted.quality.prompts, ::-1]
    shares = accept_shares(backwards, float(logit(threshold_of(row))))
    most = min(wanted.quality.most, draws // 2)
    numbers = pairs_wanted(shares, least=min(LEAST, most), most=most)
    table = pq.read_table(at_hand(alternates_path(round_, SplitName.VALIDATION))).slice(0, backwards.size).to_pydict()
    texts = [SnippetText(*text) for text in zip(table["prompt"], table["completion"], strict=True)]
    places = [place * draws + 2 * pair for place, number in enumerate(numbers.tolist()) for pair in range(number)]
    return [Pair(uuid.UUID(table["prompt_id"][at]), at, at + 1, (texts[at], texts[at + 1])) for at in places]


def given_to(firsts: Iterable[uuid.UUID]) -> dict[Keys, list[float]]:
    """What the first snippet of each pair won by each annotator's latest answer that counts."""
    latest: dict[Keys, dict[uuid.UUID, float]] = defaultdict(dict)
    counted = Preference.objects.filter(snippet__in=list(firsts), counted=True).order_by("revision")
    for first, second, annotator, choice in counted.values_list("snippet_id", "rival_id", "annotator_id", "choice"):
        latest[first, second][annotator] = CREDIT[choice]
    return {keys: list(won.values()) for keys, won in latest.items()}


def wins_of(round_: Round, pairs: Sequence[Pair]) -> list[float | None]:
    """What the first completion of each pair won, in [0, 1], on average over answers; None where nobody answered."""
    asked = {pair.key for pair in pairs if pair.decided is None}
    hashes: dict[uuid.UUID, str] = {}
    for digests in chunked(sorted({digest for key in asked for digest in key}), CHUNK):
        rows = Snippet.objects.filter(policy=round_.policy_id, content_hash__in=digests, external_id="")
        hashes |= dict(rows.values_list("pk", "content_hash"))
    answers: dict[Key, list[float]] = {}
    for firsts in chunked(list(hashes), CHUNK):
        for (first, second), given in given_to(firsts).items():
            answers[hashes[first], hashes.get(second, "")] = given
    return [_won(pair, answers.get(pair.key, [])) for pair in pairs]


def _won(pair: Pair, given: Sequence[float]) -> float | None:
    if pair.decided is not None or not given:
        return pair.decided
    mean = sum(given) / len(given)
    return mean if pair.texts[0].content_hash == pair.key[0] else 1 - mean


def can_be_shown(text: SnippetText) -> bool:
    """A generator may have said nothing, or what no database keeps."""
    return bool(text.completion.strip()) and "\0" not in text.completion
