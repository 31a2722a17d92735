"""What a report says of the round's attacks: each measured on the baseline and on the retrained classifier."""

from __future__ import annotations

from engine.evaluation.report_data import AttackReport, AttackRunReport
from engine.evaluation.yields import Attacked, attack_yield, compare_yields
from webapi.models import Attack, AttackRole, Round
from webapi.selectors.attacks import attack_title, attacked, settings_line, spending_of, strongest
from workers.round_settings import AttackPlan, RoundSettings, round_settings
from workers.train import BASELINE


def attacks(round_: Round) -> list[AttackReport]:
    """Every attack of the round that was measured, in the order of its settings."""
    wanted = round_settings(round_.config)
    rows = _measured(round_, wanted)
    arrays = {title: [attacked(row) for row in pair] for title, pair in rows.items()}
    pairs = {title: (one[0], one[1]) for title, one in arrays.items() if len(one) == 2}
    compared = compare_yields(pairs, seed=round_.seed)
    return [
        AttackReport(
            name=one.title,
            title=attack_title(rows[one.title][0]),
            settings=settings_line(rows[one.title][0]),
            simulated=_simulated(one),
            trains=bool(one.seeds),
            runs=[_run(row, found) for row, found in zip(rows[one.title], arrays[one.title], strict=True)],
            comparison=compared[one.title].as_dict() if one.title in compared else None,
        )
        for one in wanted.attacks
        if rows.get(one.title)
    ]


def _measured(round_: Round, wanted: RoundSettings) -> dict[str, list[Attack]]:
    """By title: on the baseline, and on the retrained classifier."""
    rows: dict[str, list[Attack]] = {}
    measured = round_.attacks.filter(role=AttackRole.MEASURING).select_related("classifier", "policy")
    for condition in (BASELINE, wanted.retrained):
        for row in measured.filter(classifier__condition=condition):
            rows.setdefault(row.title, []).append(row)
    return rows


def _run(row: Attack, found: Attacked) -> AttackRunReport:
    return AttackRunReport(
        classifier=row.classifier.condition,
        yields=attack_yield(found).as_dict(),
        stops=row.result.get("stops", {}),
        spending=spending_of(row),
        strongest=strongest(row),
    )


def _simulated(plan: AttackPlan) -> str | None:
    told = plan.config.get("paraphraser", {}).get("name") if plan.name == "paraphrase" else None
    return "The paraphraser knows the story world's grammar." if told == "story_world" else None
