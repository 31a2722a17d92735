"""Job: an evaluation's answer from the labels that were bought, and its report as JSON and one HTML file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from django.db.models import Count, Q, Sum

from engine.evaluation import bought_report
from engine.evaluation.designs import Answers, Tiers
from engine.evaluation.purchase_data import (
    Asked,
    Bought,
    Confirming,
    DifferenceFound,
    Example,
    PurchaseReport,
)
from engine.evaluation.quality_purchase import QualityPurchase
from engine.evaluation.rates import clopper_pearson
from webapi.models import (
    Artifact,
    Evaluation,
    EvaluationKind,
    EvaluationState,
    Label,
    Snippet,
)
from workers import evaluation_quality_report
from workers.artifacts import register, writing
from workers.evaluation_buying import AtWork, at_work, fresh, fresh_of
from workers.evaluation_difference import Certificate, difference_answer
from workers.evaluation_facts import labels_used, lineage_of, notice_of, subject_of
from workers.evaluation_label_error import label_error_found
from workers.evaluation_pool import evaluation_path, read_outputs
from workers.evaluation_purchase import Standings, standings
from workers.evaluation_settings import evaluation_settings
from workers.jobs import JobEnded, JobRun

MOST_EXAMPLES = 50
FALSE_POSITIVES = 20


def report_evaluation(run: JobRun) -> dict[str, Any]:
    """Job: estimates, writes the report, and ends the evaluation. Run again it writes the same."""
    evaluation = fresh(run)
    if evaluation.state == EvaluationState.SUCCEEDED:
        return {"report": str(evaluation.report_id)}
    if evaluation.kind == EvaluationKind.QUALITY:
        return _quality(evaluation)
    work = at_work(evaluation)
    found = standings(run, work.buying, work.order[: evaluation.bought])
    content = _content(run, evaluation, work, found)
    kept = ("tiers", "difference", "bought", "confirming", "label_error", "asked")
    results: dict[str, object] = {name: value for name, value in content.items() if name in kept}
    if not evaluation.succeed(results, write_report(evaluation, content)):
        raise JobEnded
    return {"labels": content["bought"]["labels"]}


def _quality(evaluation: Evaluation) -> dict[str, Any]:
    wanted = evaluation_settings(evaluation.config)
    content = evaluation_quality_report.content_of(evaluation, wanted, read_outputs(evaluation))
    results: dict[str, object] = {name: content[name] for name in evaluation_quality_report.KEPT}  # type: ignore[literal-required]
    if not evaluation.succeed(results, write_report(evaluation, content)):
        raise JobEnded
    return {"labels": content["bought"]["labels"]}


def write_report(evaluation: Evaluation, content: PurchaseReport | QualityPurchase) -> Artifact:
    """The folder with `report.json` and `report.html`, whole or not at all."""
    path = evaluation_path(evaluation, "report")
    with writing(path) as temporary:
        temporary.mkdir()
        (temporary / "report.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
        (temporary / "report.html").write_text(bought_report.page(content), encoding="utf-8")
        if path.exists():
            for old in path.iterdir():
                old.unlink()
            path.rmdir()
    return register(path, "report")


def _answer(
    run: JobRun, evaluation: Evaluation, work: AtWork, answers: Answers
) -> tuple[Tiers, DifferenceFound | None]:
    """The tiers and, in a difference, what they come from and what they certify."""
    wanted, outputs = work.buying.wanted, work.buying.outputs
    if evaluation.kind != EvaluationKind.DIFFERENCE:
        return work.design.estimate(outputs.pool, work.plan, answers, wanted.level), None
    before = _certificate(run, evaluation.parent) if evaluation.parent else None
    return difference_answer(evaluation, outputs, work.plan, answers, wanted, before)


def _certificate(run: JobRun, parent: Evaluation) -> Certificate:
    before = fresh_of(parent.pk)
    bought = at_work(before)
    said = bought.answers(standings(run, bought.buying, bought.order[: before.bought]))
    return Certificate(bought.buying.outputs, bought.design, bought.plan, said)


def _content(run: JobRun, evaluation: Evaluation, work: AtWork, found: Standings) -> PurchaseReport:
    answers, wanted = work.answers(found), work.buying.wanted
    used, rests_on = found.each[: answers.indices.size], labels_used(evaluation, found.keys)
    tiers, against = _answer(run, evaluation, work, answers)
    policy = evaluation.classifier.policy
    return PurchaseReport(
        id=str(evaluation.pk),
        name=evaluation.name,
        kind=evaluation.kind,
        created_at=evaluation.created_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        policy=str(policy),
        question=policy.rules.question,
        failure=policy.rules.failure,
        notice=notice_of(evaluation, rests_on),
        subject=subject_of(evaluation.classifier, evaluation.threshold),
        against=subject_of(evaluation.against, None) if evaluation.against else None,
        second=evaluation.second.name if evaluation.second else None,
        asked=Asked(
            design=work.design.name,
            title=work.design.title,
            what=work.design.what,
            relative=wanted.relative,
            interval=wanted.interval,
            level=wanted.level,
            labels_each=wanted.labels_each,
            confirmations=wanted.confirmations,
            confirmed_by=wanted.confirmed_by,
            source=wanted.outputs.source,
            tries=wanted.outputs.tries,
            seed=wanted.seed,
        ),
        plan=evaluation.plan,
        tiers=tiers.as_dict(),
        difference=against,
        bought=_bought(evaluation, work, found, outputs=answers.indices.size, had=rests_on.had),
        confirming=_confirming(used, wanted.level),
        label_error=label_error_found(used, tiers.estimate, wanted, difference=against is not None),
        logits=_histogram(work.buying.outputs.pool.logits),
        failures=_failures(work, found, answers.failures),
        false_positives=_false_positives(evaluation),
        lineage=lineage_of(evaluation, rests_on),
    )


def _bought(evaluation: Evaluation, work: AtWork, found: Standings, *, outputs: int, had: int) -> Bought:
    labels = Label.objects.filter(task__batch__evaluation=evaluation)
    totals = labels.aggregate(
        n=Count("pk", Q(task__gold=None)),
        gold=Count("pk", ~Q(task__gold=None)),
        annotators=Count("annotator", distinct=True),
        seconds=Sum("seconds"),
    )
    price = work.buying.wanted.price
    return Bought(
        outputs=outputs,
        sent=evaluation.bought,
        snippets=len(set(found.keys)),
        labels=totals["n"],
        gold=totals["gold"],
        had=had,
        annotators=totals["annotators"],
        seconds=totals["seconds"],
        money=None if price is None else (totals["n"] + totals["gold"]) * price,
        planned=work.plan.labels,
        pilot=(evaluation.plan.get("pilot") or {}).get("outputs", 0),
    )


def _confirming(each: Sequence[Any], level: float) -> Confirming:
    """How often the first labels said failure, and how often that was confirmed."""
    suspected = sum(one.suspected for one in each)
    confirmed = sum(one.failure for one in each)
    return Confirming(
        suspected=suspected,
        confirmed=confirmed,
        alone=sum(one.alone for one in each),
        unconfirmed=clopper_pearson(suspected, len(each), level=level).as_dict(),
    )


def _histogram(logits: Any) -> dict[str, list[float]]:
    counts, edges = np.histogram(logits, bins=30)
    return {"edges": [round(float(edge), 4) for edge in edges], "counts": counts.tolist()}


def _failures(work: AtWork, found: Standings, failures: Any) -> list[Example]:
    """The failures that the filter let through, the surest of itself first; each text once."""
    outputs, cut = work.buying.outputs, np.flatnonzero(failures)
    by_key: dict[Any, int] = {}
    for place in sorted(cut.tolist(), key=lambda at: float(outputs.pool.logits[work.order[at]])):
        by_key.setdefault(found.keys[place], place)
    examples = []
    for key, place in list(by_key.items())[:MOST_EXAMPLES]:
        index = int(work.order[place])
        choices = Label.objects.filter(snippet=key, counted=True).order_by("pk").values_list("choice", flat=True)
        examples.append(
            Example(
                snippet=str(key),
                prompt=outputs.texts[index],
                completion=outputs.completions[index],
                logit=float(outputs.pool.logits[index]),
                labels=list(choices),
            )
        )
    return examples


def _false_positives(evaluation: Evaluation) -> list[Example]:
    """Harmless texts, by labels that are there already, which the classifier rejects; by chance."""
    row = evaluation.classifier
    split = evaluation.config.get("outputs", {}).get("split", "test")
    rows = Snippet.objects.filter(policy=row.policy_id, split=split, consensus__choice=row.policy.rules.harmless)
    cutoff = np.log(evaluation.threshold) - np.log1p(-evaluation.threshold) if evaluation.threshold else -np.inf
    scored = rows.filter(scores__classifier=row, scores__logit__gte=cutoff).order_by("content_hash")
    columns = scored.values_list("pk", "prompt", "completion", "scores__logit")
    return [
        Example(snippet=str(pk), prompt=prompt, completion=completion, logit=logit, labels=[row.policy.rules.harmless])
        for pk, prompt, completion, logit in columns[:FALSE_POSITIVES]
    ]
