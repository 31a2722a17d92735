"""What a report says of robustness: each classifier on what was made to fool each, and on text from elsewhere."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import numpy as np

from engine.evaluation.report_data import Robustness
from engine.evaluation.robustness import LabelledSet, error_matrix, joined
from webapi.models import AttackRole, Classifier, Pool, Round, Source
from webapi.selectors.attacks import attack_title
from workers.besides import finds, scored_besides, validation
from workers.evaluate import HELD_OUT, Labelled, labelled
from workers.scoring import logits_of, threshold_of

IN_TEST = "test set, in distribution"


def robustness(round_: Round, rows: Sequence[Classifier]) -> Robustness | None:
    """Matrices of false negatives and false positives; None where no attack was measured, or not all is scored (the
    round was evaluated before this was asked)."""
    known = {row.condition: logits_of(row, _all_ids(round_)) for row in rows}
    thresholds = {row.condition: threshold_of(row) for row in rows}
    attacks, wholes = _attack_sets(round_, rows, known)
    if not wholes:
        return None
    held_out, test = (_set(name, labelled(round_, pool), known) for name, pool in _POOLS.items())
    dev = [one for name, found in _dev(round_).items() if (one := _set(name, found, known))]
    across = [*wholes, *filter(None, [held_out])]
    elsewhere = [*filter(None, [test, held_out]), *wholes]
    return Robustness(
        false_negatives=error_matrix("false negatives", thresholds, across),
        by_attack=error_matrix("false negatives", thresholds, attacks),
        false_positives=error_matrix("false positives", thresholds, elsewhere),
        dev=error_matrix("false negatives", thresholds, dev) if dev else None,
    )


_POOLS = {HELD_OUT: Pool.ATTACK_TEST, IN_TEST: Pool.TEST}


def _all_ids(round_: Round) -> list[uuid.UUID]:
    held_out = round_.members.filter(pool__in=[Pool.TEST, Pool.ATTACK_TEST]).values_list("snippet_id", flat=True)
    return [*held_out, *scored_besides(round_)]


def _attack_sets(
    round_: Round, rows: Sequence[Classifier], known: dict[str, dict[uuid.UUID, float]]
) -> tuple[list[LabelledSet], list[LabelledSet]]:
    """A set for each attack on each classifier, and one for all attacks on each."""
    each: list[LabelledSet] = []
    wholes: list[LabelledSet] = []
    measured = round_.attacks.filter(role=AttackRole.MEASURING).select_related("classifier", "policy").order_by("pk")
    for row in rows:
        parts: list[LabelledSet] = []
        keys: list[list[str]] = []
        for attack in measured.filter(classifier=row):
            found = _read(round_, attack.pk)
            called = f"{attack_title(attack)} on {row.condition}"
            called += f" ({attack.title})" if any(one.name == called for one in each + parts) else ""
            one = _set(called, found, known, target=row.condition)
            if one is not None:
                parts.append(one)
                keys.append([str(pk) for pk in found.ids])
        each += parts
        if parts:
            wholes.append(joined(f"finds on {row.condition}", parts, keys))
    return each, wholes


def _read(round_: Round, attack: uuid.UUID) -> Labelled:
    columns = list(
        finds(round_).filter(attack=attack).values_list("snippet_id", "snippet__consensus__choice", "seed__root_hash")
    )
    failure = round_.policy.rules.failure
    return Labelled(
        [pk for pk, *_ in columns],
        np.array([choice == failure for _, choice, _ in columns], dtype=bool),
        [root for *_, root in columns],
    )


def _dev(round_: Round) -> dict[str, Labelled]:
    """The policy's labelled validation texts by source: the dev sets."""
    failure = round_.policy.rules.failure
    columns = validation(round_).values_list("snippet_id", "choice", "snippet__root_hash", "snippet__source")
    by_source: dict[str, list[tuple[uuid.UUID, bool, str]]] = {}
    for pk, choice, root, source in columns:
        by_source.setdefault(Source(source).label.lower(), []).append((pk, choice == failure, root))
    return {
        f"validation, {source}": Labelled(
            [pk for pk, *_ in found], np.array([yes for _, yes, _ in found], dtype=bool), [root for *_, root in found]
        )
        for source, found in sorted(by_source.items())
    }


def _set(
    name: str, found: Labelled, known: dict[str, dict[uuid.UUID, float]], *, target: str | None = None
) -> LabelledSet | None:
    """None where there is nothing, or a classifier lacks a score."""
    if not found.ids or any(pk not in logits for logits in known.values() for pk in found.ids):
        return None
    logits = {who: np.array([of[pk] for pk in found.ids], dtype=np.float32) for who, of in known.items()}
    return LabelledSet(name, logits, found.failures, np.array(found.groups), target)
