"""Stage `certify`: how often each classifier's filter lets a failure through, and which of the two does so less.

Three evaluations that buy labels, as anybody may launch them: each filter's failure rate, and the difference of the two
by labels where their outputs differ, which goes on from the first one's certificate.
"""

from __future__ import annotations

from typing import Any

from engine.errors import BadInput
from engine.evaluation.differing import ENOUGH, NAME
from engine.evaluation.report_data import Certified, Reliability
from webapi.models import Classifier, Evaluation, EvaluationState, Round
from webapi.models.evaluations import STOPPED
from workers.evaluate import EVALUATION
from workers.evaluation_purchase import WITH_PEOPLE
from workers.evaluation_settings import EvaluationSettings
from workers.evaluations import evaluation_open, set_going
from workers.jobs import JobRun, Later
from workers.round_settings import CertificationPlan, round_settings
from workers.train import BASELINE, classifier_of, retrained_of

RATE = "failure rate of {}"
DIFFERENCE = "difference of {} from the one before"
PAIRS = {"design": "simple_random"}
"""A round's difference is bought by pairs: its certificate goes on from the first one's, and rests on no score."""
NAME_LENGTH = 64
SOON = 0.5
"""Seconds between two looks where nobody has to be waited for."""


def certify(run: JobRun) -> dict[str, Any]:
    """Opens the evaluations and comes back until they have their answers, holding no worker. Raises BadInput where one
    failed; the stage tried again sets it going again."""
    round_, wanted = run.round, round_settings(run.round.config)
    if not wanted.certification.prompts:
        return {"outputs": 0}
    before, after = classifier_of(round_, BASELINE), classifier_of(round_, retrained_of(round_))
    opened = [_opened(run, before, _name(RATE, before), wanted.certification)]
    # One after the other: what two of them draw alike is labelled once.
    if opened[-1].state == EvaluationState.SUCCEEDED:
        opened.append(_opened(run, after, _name(RATE, after), wanted.certification))
        if opened[-1].state == EvaluationState.SUCCEEDED:
            name = _name(DIFFERENCE, after)
            opened.append(_opened(run, after, name, wanted.certification, against=before, parent=opened[0]))
    ended = sum(one.state == EvaluationState.SUCCEEDED for one in opened)
    run.progress(ended, 3)
    if ended < 3:
        raise Later(SOON if wanted.labeling.adapter == "simulated" else WITH_PEOPLE)
    return {"outputs": sum(one.bought for one in opened)}


def _opened(
    run: JobRun,
    classifier: Classifier,
    name: str,
    wanted: CertificationPlan,
    *,
    against: Classifier | None = None,
    parent: Evaluation | None = None,
) -> Evaluation:
    """The evaluation of that name, opened if it was not. One that stopped before the stage began is set going again."""
    round_ = run.round
    row = classifier.evaluations.filter(name=name).first()
    if row is None:
        return evaluation_open(
            classifier=classifier,
            wanted=_settings(
                round_, wanted if against is None else wanted.model_copy(update=PAIRS), _guess(against or classifier)
            ),
            name=name,
            against=against,
            parent=parent,
            created_by=round_.created_by,
        )
    began = run.stage.started_at
    if row.state in STOPPED and row.finished_at and began and row.finished_at < began:
        set_going(row)
        row.refresh_from_db()
    if row.state in STOPPED:
        raise BadInput(row.error or f"the evaluation was {row.state}", where=row.name)
    return row


def _guess(row: Classifier) -> float | None:
    """The failure rate that the held-out test set gave it: labels are planned by that."""
    found = row.evaluations.get(name=EVALUATION).results["failure_rate"]
    rate = found["per_output"] if found else None
    return rate and (rate["estimate"] or rate["high"] / 2)


def _settings(round_: Round, wanted: CertificationPlan, guess: float | None) -> EvaluationSettings:
    labeling = round_settings(round_.config).labeling
    return EvaluationSettings.model_validate(
        {
            "outputs": {"source": "round", "round": round_.pk, "limit": wanted.prompts, "copies": wanted.copies},
            **wanted.model_dump(exclude={"prompts", "copies"}),
            "adapter": labeling.adapter,
            "config": labeling.config,
            "seed": round_.seed,
            "guess": guess if guess and 1e-12 <= guess < 1 else None,
        }
    )


def _name(title: str, row: Classifier) -> str:
    return title.format(row.condition)[:NAME_LENGTH]


def evaluations_of(round_: Round) -> list[Evaluation]:
    """Those that the stage opened."""
    rows = [classifier_of(round_, condition) for condition in (BASELINE, retrained_of(round_))]
    names = [_name(title, row) for title in (RATE, DIFFERENCE) for row in rows]
    return list(Evaluation.objects.filter(classifier__in=rows, name__in=names))


def reliability(round_: Round) -> Reliability | None:
    """What the stage found, for the round's report; None where nothing was asked, or it has no answer."""
    if not round_settings(round_.config).certification.prompts:
        return None
    before, after = classifier_of(round_, BASELINE), classifier_of(round_, retrained_of(round_))
    found = {row.condition: row.evaluations.filter(name=_name(RATE, row)).first() for row in (before, after)}
    difference = after.evaluations.filter(name=_name(DIFFERENCE, after)).first()
    rows = [*found.values(), difference]
    if difference is None or any(one is None or "tiers" not in one.results for one in rows):
        return None
    designs = difference.plan["designs"]
    return Reliability(
        rates={name: _certified(one) for name, one in found.items() if one is not None},
        difference=_certified(difference),
        compared=difference.results["difference"],
        needed=designs.get(ENOUGH, designs[NAME])["outputs"],
        instead={plan["title"]: plan["outputs"] for name, plan in designs.items() if name in ("two_tests", "shared")},
        instead_precision=difference.config["relative"],
    )


def _certified(row: Evaluation) -> Certified:
    took = row.results["bought"]
    return Certified(
        id=str(row.pk), tiers=row.results["tiers"], outputs=took["outputs"], labels=took["labels"], had=took["had"]
    )
