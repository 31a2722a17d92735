"""What a report of an evaluation that bought labels says first, and how it writes its rates."""

from __future__ import annotations

from typing import NamedTuple

from engine.evaluation import wording
from engine.evaluation.charts.purchase import is_paired, tiers_shown
from engine.evaluation.difference import DifferenceDict
from engine.evaluation.purchase_data import Bought, PurchaseReport
from engine.evaluation.rates import RateDict


class Tier(NamedTuple):
    """A row of the table of tiers."""

    title: str
    value: str
    counted: str
    """Count and interval; empty where there is no rate."""
    method: str


def headline(report: PurchaseReport) -> str:
    """The answer in a sentence, with its count and interval."""
    rate = report["tiers"]["estimate"]
    if report["kind"] == "difference":
        return _compared(report)
    level, sure = f"{100 * rate['level']:.0f} %", _one_sided(rate)
    if not rate["failures"]:
        return f"No failure among {rate['n']:,.0f} outputs: at most {wording.percent(rate['high'])} fail ({sure})."
    share, between = wording.percent(rate["estimate"]), wording.span(rate["low"], rate["high"])
    return f"{share} of the filter's outputs fail ({basis(report, rate)}; {level} interval {between})."


def verdict(report: PurchaseReport) -> str:
    """What may be signed whatever the scores are worth."""
    rate, took = report["tiers"]["certificate"], report["bought"]
    labels = f"{_took(took)}; {took['planned']:,} were planned."
    if report["kind"] == "difference":
        said = (_differing(report), _sure(report), smallest(report), _certified(report), labels)
        return " ".join(filter(None, said))
    most = (
        f"Whatever the scores are worth, at most {wording.percent(rate['high'])} fail ({_one_sided(rate)}), "
        "if the labels are right."
    )
    return " ".join(filter(None, (most, _reached(report), labels)))


def _one_sided(rate: RateDict) -> str:
    """How sure the upper end of a two-sided interval is by itself."""
    return f"{100 - 50 * (1 - rate['level']):g} %, one-sided"


def _took(took: Bought) -> str:
    if not took["labels"] and took["had"]:
        return f"No label had to be bought, {took['had']:,} existed already"
    had = f", and {took['had']:,} that existed already" if took["had"] else ""
    return f"It took {_many(took['labels'], 'label')}{had}"


def _reached(report: PurchaseReport) -> str:
    """Where the interval came out wider than wanted: by how much."""
    asked = report["asked"]
    rate, wanted = (
        report["tiers"]["certificate" if asked.get("interval") == "certificate" else "estimate"],
        asked["relative"],
    )
    middle = rate["estimate"]
    if not middle:
        return ""
    below, above = (middle - rate["low"]) / middle, (rate["high"] - middle) / middle
    if (below + above) / 2 <= 1.1 * wanted:
        return ""
    got = f"\N{MINUS SIGN}{100 * below:.0f} to +{100 * above:.0f} %"
    return (
        f"That is wider than the ±{100 * wanted:.0f} % wanted ({got}): "
        f"the rate is lower than the {wording.percent(report['plan']['guess'])} planned for."
        if report["plan"].get("guess") and middle < report["plan"]["guess"]
        else f"The interval is wider than the ±{100 * wanted:.0f} % wanted ({got})."
    )


def tiers(report: PurchaseReport) -> list[Tier]:
    """The tiers as a table writes them."""
    return [Tier(title, *_words(report, rate)) for title, rate in tiers_shown(report)]


def sides(report: PurchaseReport) -> list[Tier]:
    """Of a difference: rows for how often each filter fails where the two differ, the other first."""
    if report["difference"] is None:
        return []
    found = report["difference"]["found"]
    paired, all_labelled = found.get("paired", True), found["labelled"] == found["differing"]
    rows = []
    for subject, rate in ((report["against"], found["only_first"]), (report["subject"], found["only_second"])):
        name = subject["name"] if subject else "the other"
        title = f"Only {name} fails" if paired else f"{name} fails where the two differ"
        count = f"{rate['failures']:,.0f}"
        if paired:
            what = "prompts" if all_labelled else "places labelled"
            count = f"{count} of {found['prompts'] if all_labelled else found['labelled']:,} {what}"
        else:
            count = f"{_many(round(rate['failures']), 'failure')} among {_many(round(rate['n']), 'output')} labelled"
        if not (paired and all_labelled):
            count = f"per prompt, from {count}"
        between = f"; {wording.span(rate['low'], rate['high'])}" if rate["failures"] else ""
        method = f"{rate['method']}, {100 * rate['level']:g} %"
        rows.append(Tier(title, wording.share_of(rate), f"{count}{between}", method))
    return rows


def basis(report: PurchaseReport, rate: RateDict) -> str:
    """The counts that a tier rests on; as a fraction only where that fraction is the rate."""
    if is_paired(report):
        return f"one alone fails at {rate['failures']:,.0f} of {_many(round(rate['n']), 'place')} labelled"
    share = rate["failures"] / rate["n"] if rate["n"] else None
    plain = share is None or rate["estimate"] is None or abs(share - rate["estimate"]) < 1e-9
    if report["kind"] != "difference" and plain:
        return wording.counted(rate)
    return f"{_many(round(rate['failures']), 'failure')} among {_many(round(rate['n']), 'output')} labelled"


def rate_words(report: PurchaseReport, rate: RateDict | None) -> str:
    """A tier on one line, with its count and interval."""
    if rate is None:
        return "none"
    if report["kind"] == "difference":
        return wording.points(rate)
    return f"{wording.share_of(rate)} ({basis(report, rate)}; {wording.span(rate['low'], rate['high'])})"


def label_error(report: PurchaseReport) -> str:
    """What labels are assumed to err, why, and what the estimate is if they do; empty where it was not looked at."""
    found = report.get("label_error")
    if found is None:
        return ""
    effect, shown = found["effect"], found["shown"]
    seen = f"{shown['failures']:,.0f} of {shown['n']:,.0f} outputs that are no failures got a first {report['failure']}"
    up_to = f", in truth up to {wording.percent(shown['high'])}" if shown["n"] else ""
    why = "That is what confirmations showed" if found["assumed_by"] == "confirmations" else "Confirmations showed"
    unseen = " What annotators miss they do not show." if effect["sensitivity"] == 1 else ""
    counted, corrected = (_uncounted(report, effect[name]) for name in ("counted", "corrected"))
    so = (
        "Allowing for that leaves the estimate as it is"
        if counted == corrected
        else f"So {counted} would be {corrected}"
    )
    return f"{effect['words']} {why}: {seen}{up_to}.{unseen} {so}."


def _uncounted(report: PurchaseReport, rate: RateDict) -> str:
    if report["kind"] == "difference":
        return wording.points(rate)
    return f"{wording.share_of(rate)} ({wording.span(rate['low'], rate['high'])})"


def _words(report: PurchaseReport, rate: RateDict | None) -> tuple[str, str, str]:
    if rate is None:
        return "none", "", "too few labels for a model"
    method = f"{rate['method']}, {100 * rate['level']:g} %"
    if report["kind"] == "difference":
        if rate["estimate"] is None:
            return "no data", "", method
        middle, low, high = wording.signed_points((rate["estimate"], rate["low"], rate["high"]))
        return f"{middle} points", f"{basis(report, rate)}; {low} to {high}", method
    return wording.share_of(rate), f"{basis(report, rate)}; {wording.span(rate['low'], rate['high'])}", method


def _compared(report: PurchaseReport) -> str:
    """Whether the filter is safer than the one it is held against; only where the interval leaves zero."""
    rate = report["tiers"]["estimate"]
    name = wording.plain(report["against"]["name"], 60) if report["against"] else "the other"
    safer = "is safer than" if rate["high"] < 0 else "lets more through than" if rate["low"] > 0 else ""
    if safer:
        return f"The filter {safer} {name}: {wording.points(rate)} of failures per prompt."
    return f"The filter is not shown to be safer or worse than {name}: {wording.points(rate)} of failures per prompt."


def _differing(report: PurchaseReport) -> str:
    if report["difference"] is None:
        return ""
    found = report["difference"]["found"]
    if not found["differing"]:
        return f"The two answer alike at all {found['prompts']:,} prompts: no label tells them apart."
    if not found.get("paired", True):
        return _of_outputs(found)
    return (
        f"The two answer differently at {found['differing']:,} of {found['prompts']:,} prompts, and only there labels "
        f"were bought: the other alone fails at {found['only_first']['failures']:,.0f}, this one alone at "
        f"{found['only_second']['failures']:,.0f}, both at {found['both']:,}."
    )


def _of_outputs(found: DifferenceDict) -> str:
    other, this = found["only_first"], found["only_second"]
    return (
        f"The two answer differently at {found['differing']:,} of {found['prompts']:,} prompts, and only there labels "
        f"were bought, most where both scores expect failures: of {other['n']:,.0f} of the other's outputs "
        f"{other['failures']:,.0f} fail, of {this['n']:,.0f} of this one's {this['failures']:,.0f}."
    )


def _sure(report: PurchaseReport) -> str:
    """What holds of a difference whatever the scores are worth, where its estimate leans on them."""
    if is_paired(report):
        return ""
    return f"Whatever the scores are worth, it is {wording.points(report['tiers']['certificate'])}."


def smallest(report: PurchaseReport) -> str:
    """Of a difference that is not shown: what so many labels would have shown, since not shown is not none."""
    found, rate = report["difference"], report["tiers"]["estimate"]
    if found is None or "smallest" not in found or rate["high"] < 0 or rate["low"] > 0:
        return ""
    chance = f"a chance of {100 * found['power']:.0f} %"
    if found["smallest"] is None:
        return f"So few labels find no difference with {chance}, be it as large as the outputs allow."
    return (
        f"Not shown is not equal: with so many labels only a difference of at least "
        f"{wording.percent(found['smallest']).removesuffix(' %')} points is found with {chance}."
    )


def _certified(report: PurchaseReport) -> str:
    """What a difference certifies, going on from the other's certificate; empty where it does not."""
    found = report["difference"]["chained"] if report["difference"] else None
    if found is None:
        return ""
    return (
        f"Going on from the other's certificate, at most {wording.percent(found['upper'])} of prompts get a "
        f"failure through this filter ({100 * (1 - found['wrong']):g} %, one-sided)."
    )


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
