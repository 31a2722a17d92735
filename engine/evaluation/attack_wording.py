"""What attacks yielded before and after training, in sentences that say plainly where nothing is shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from engine.evaluation.rates import RateDict
from engine.evaluation.report_data import AttackReport, Report
from engine.evaluation.wording import Direction, counted, p_text, plain, points, share_of
from engine.evaluation.yields import Verdict, YieldComparisonDict

VERDICTS: tuple[Verdict, ...] = ("lower", "not shown lower", "higher", "no comparison")


class AttackAnswer(NamedTuple):
    """What a report says of its attacks."""

    summary: str
    """Whether training lowered the yield of the attacks that were only measured; empty where none was compared."""
    sentences: dict[str, str]
    """Of each attack compared, by its name."""
    direction: Direction


def attack_answer(report: Report) -> AttackAnswer:
    """The sentences on attacks, in the report's order."""
    attacks = report["attacks"]
    trained = _listed([in_sentence(one) for one in attacks if one["trains"]])
    sentences = {
        one["name"]: _sentence(one, one["comparison"], trained) for one in attacks if one["comparison"] is not None
    }
    measured = [one for one in attacks if not one["trains"] and one["comparison"] is not None]
    return AttackAnswer(_summary(measured, trained), sentences, _direction(measured))


def attack_totals(report: Report) -> list[tuple[str, str]]:
    """For the terminal: the yield per labelled candidate of each attack, run after run."""
    return [
        (
            f"Yield of {in_sentence(one, 26)}",
            " \N{RIGHTWARDS ARROW} ".join(_found(run["yields"]["per_candidate"]) for run in one["runs"]) or "not run",
        )
        for one in report["attacks"]
    ]


def per_unit(rate: RateDict | None) -> str:
    """A rate per unit of exposure; no finds read as an upper limit: "below 0.61"."""
    if rate is None or rate["estimate"] is None:
        return "no data"
    return _digits(rate["estimate"]) if rate["failures"] else f"below {_digits(rate['high'])}"


def finds(rate: RateDict | None) -> str:
    """The count and interval behind a rate per unit of exposure: "12 finds; 1.6 to 5.4"."""
    if rate is None or rate["estimate"] is None:
        return ""
    interval = f"; {_digits(rate['low'])} to {_digits(rate['high'])}" if rate["failures"] else ""
    return f"{rate['failures']:,.0f} find{'' if rate['failures'] == 1 else 's'}{interval}"


def _digits(value: float) -> str:
    """Two significant digits, or whole numbers; the lower end of an interval may be as good as 0."""
    if value < 5e-4:
        return "0"
    return f"{value:,.0f}" if value >= 100 else f"{value:#.2g}".rstrip(".")


def _found(rate: RateDict) -> str:
    return "none labelled" if rate["estimate"] is None else f"{share_of(rate)} ({counted(rate)} labelled)"


def in_sentence(one: AttackReport, limit: int = 40) -> str:
    """Its title inside a sentence; an acronym keeps its capitals."""
    title = plain(one["title"], limit)
    return title if title[1:2].isupper() else title[:1].lower() + title[1:]


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def _sentence(one: AttackReport, found: YieldComparisonDict, trained: str) -> str:
    training = f"training on {trained}" if trained else "retraining"
    title, seeds = in_sentence(one), found["seeds"]
    if found["verdict"] == "no comparison":
        return f"The yield of {title} before and after {training} is not compared: no seed is known in both runs."
    before, after = (seeds["both"] + seeds[side] for side in ("only_before", "only_after"))
    evidence = f"{before:,} of {seeds['n']:,} seeds broken before, {after:,} after: "
    evidence += f"{points(seeds['difference'])}, {_p(found)}."
    if found["verdict"] == "higher":
        return f"After {training}, {title} breaks more seeds: {evidence}"
    lead = training[:1].upper() + training[1:]
    if found["verdict"] == "lower":
        return f"{lead} lowered the yield of {title}{'' if one['trains'] else ' too'}: {evidence}"
    return f"{lead} is not shown to have lowered the yield of {title}: {evidence}"


def _p(found: YieldComparisonDict) -> str:
    test = "exact McNemar" if found["seeds"]["p_value_clusters"] is None else "sign flips of groups"
    family = f", Holm over {found['attacks']} attacks" if found["attacks"] > 1 else ""
    return f"{test} {p_text(found['p_adjusted'])}{family}"


def _summary(measured: Sequence[AttackReport], trained: str) -> str:
    if not measured or not trained:
        return ""
    titles = {
        verdict: _listed([in_sentence(one) for one in measured if _verdict(one) == verdict]) for verdict in VERDICTS
    }
    if not titles["lower"]:
        parts = [f"Training on {trained} is not shown to have lowered the yield of any attack that was only measured."]
    else:
        parts = [f"Training on {trained} lowered the yield of {_share(measured)} only measured: {titles['lower']}."]
        parts += [f"That is not shown for {titles['not shown lower']}."] if titles["not shown lower"] else []
    parts += [f"More seeds than before are broken by {titles['higher']}."] if titles["higher"] else []
    parts += [f"Not compared: {titles['no comparison']}."] if titles["no comparison"] else []
    return " ".join(parts)


def _share(measured: Sequence[AttackReport]) -> str:
    lower, n = sum(_verdict(one) == "lower" for one in measured), len(measured)
    if n == 1:
        return "the attack that was"
    return (
        f"{'both' if n == 2 else f'all {n}'} attacks that were"
        if lower == n
        else f"{lower} of the {n} attacks that were"
    )


def _verdict(one: AttackReport) -> Verdict:
    return one["comparison"]["verdict"] if one["comparison"] else "no comparison"


def _direction(measured: Sequence[AttackReport]) -> Direction:
    verdicts = {_verdict(one) for one in measured}
    if "higher" in verdicts:
        return "worse"
    return "better" if verdicts == {"lower"} else "unclear" if verdicts else "no comparison"
