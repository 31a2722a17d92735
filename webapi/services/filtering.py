"""The filter at work: texts judged, and prompts completed, by the code that evaluations measure."""

from __future__ import annotations

import math
import uuid
from collections.abc import Sequence
from enum import StrEnum
from functools import lru_cache
from threading import Lock
from typing import NamedTuple

import numpy as np

from engine.generation.rejection import accepts, logit_cutoff
from engine.snippets import Snippet as SnippetText
from webapi.errors import DomainError
from webapi.models import Classifier, Generator, Policy
from webapi.selectors.classifiers import serving_classifier
from webapi.services.classifiers import scorer_at_hand
from webapi.services.filter_watch import note
from webapi.services.gathering import Full, Gatherer
from webapi.services.generators import SampledText, filter_of, generator_sample

MAX_TEXTS = 256
"""Texts in one request: a few seconds on two cores."""
FULL_SECONDS = 1.0
"""After so long it is worth asking again."""
_making = Lock()


class Filter(NamedTuple):
    """A classifier at its threshold, and what leads back to it."""

    classifier: Classifier
    threshold: float
    serving: bool
    """Whether it is the one promoted for its policy now."""

    @property
    def threshold_logit(self) -> float | None:
        """The logit that a text must stay below, as decisions compare it; None at 0 (no text is) and at 1 (all are)."""
        cutoff = float(logit_cutoff(self.threshold))
        return cutoff if math.isfinite(cutoff) else None


class Reason(StrEnum):
    """Why a text does not get through."""

    SCORE = "score"
    EMPTY = "empty"
    NOT_A_NUMBER = "not_a_number"
    NONE_ACCEPTED = "none_accepted"


class Decision(NamedTuple):
    """What the filter says of one text, or of the proposals for one prompt."""

    accepted: bool
    completion: str | None
    """The text judged or found; None where no proposal was accepted."""
    score: float | None
    """In [0, 1]; None where there is none: an empty completion, no proposal accepted, or the classifier said NaN."""
    logit: float | None
    tries: int
    """Proposals made; 1 for a text that was given."""
    reason: Reason | None
    """None of what is accepted."""


def filter_at_work(policy: Policy, classifier: Classifier | None) -> Filter:
    """The classifier named, or the policy's serving one, at its threshold. Raises as `filter_of`."""
    found = filter_of(policy, classifier)
    assert found.threshold is not None
    serving = found if classifier is None else serving_classifier(policy.pk)
    return Filter(found, found.threshold, serving is not None and serving.pk == found.pk)


def texts_judge(*, by: Filter, snippets: Sequence[SnippetText]) -> list[Decision]:
    """Whether each text is accepted, in order. An empty completion is rejected unscored, as a proposal would be.

    Raises DomainError `unavailable` while too many texts wait, or what loading the classifier raises.
    """
    spoken = [place for place, one in enumerate(snippets) if one.completion]
    logits = np.full(len(snippets), math.inf, dtype=np.float32)
    if spoken:
        logits[spoken] = _gathered(by.classifier, [snippets[place] for place in spoken])
    accepted = accepts(logits, by.threshold).tolist()
    note(by.classifier.pk, logits.tolist(), accepted)
    return [
        Decision(is_in, one.completion, *_scores(logit), 1, None if is_in else _reason(one, logit))
        for one, logit, is_in in zip(snippets, logits.tolist(), accepted, strict=True)
    ]


def prompts_complete(
    *, by: Filter, policy: Policy, generator: Generator, prompts: Sequence[str], tries: int, seed: int
) -> list[Decision]:
    """For each prompt the first of at most `tries` proposals that is accepted. Raises as `generator_sample`."""
    rows = generator_sample(
        generator=generator, policy=policy, prompts=prompts, classifier=by.classifier, tries=tries, seed=seed
    )
    found = [one for (one,) in rows]
    logits = [logit for one in found for logit in (*one.rejected, *([] if one.logit is None else [one.logit]))]
    note(by.classifier.pk, logits, accepts(logits, by.threshold).tolist())
    return [_completed(one) for one in found]


def _completed(one: SampledText) -> Decision:
    reason = Reason.NONE_ACCEPTED if one.completion is None else None
    return Decision(reason is None, one.completion, one.score, one.logit, one.tries, reason)


def _reason(text: SnippetText, logit: float) -> Reason:
    if not text.completion:
        return Reason.EMPTY
    return Reason.NOT_A_NUMBER if math.isnan(logit) else Reason.SCORE


def _gathered(classifier: Classifier, snippets: Sequence[SnippetText]) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    scorer_at_hand(classifier)  # loading takes seconds, and is not to hold the thread that others wait for
    with _making:
        gatherer = _gatherer(classifier.pk, classifier.precision)
    try:
        return gatherer.logits(snippets)
    except Full as error:
        message = "More texts wait to be judged than this server takes; try again soon."
        raise DomainError("unavailable", message, retry_after=FULL_SECONDS) from error


@lru_cache(maxsize=2)
def _gatherer(classifier_id: uuid.UUID, precision: str) -> Gatherer:
    row = Classifier.objects.get(pk=classifier_id)
    return Gatherer(scorer_at_hand(row).logits)


def _scores(logit: float) -> tuple[float | None, float | None]:
    if not math.isfinite(logit):
        return None, None
    return (1 / (1 + math.exp(-logit)) if logit > -700 else 0.0), logit
