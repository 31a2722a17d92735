import html

import pytest

from engine.errors import BadInput
from engine.evaluation.charts.purchase import tiers
from engine.evaluation.label_error import Labeler, label_effect
from engine.evaluation.purchase_report import PARTS, Change, changes, headline, render_purchase, render_purchase_parts
from engine.evaluation.purchase_table import render_answer, render_plans
from engine.evaluation.purchase_wording import sides, verdict
from engine.evaluation.rates import clopper_pearson
from engine.evaluation.wording import points
from tests.engine.sample_purchase import sample_by_outputs, sample_difference, sample_purchase


def test_one_file_with_every_part_and_no_other():
    page = render_purchase(sample_purchase())
    parts = render_purchase_parts(sample_purchase())
    assert list(parts) == list(PARTS)
    for text in parts.values():
        assert text.strip() in page
    before_scripts = page.split("<script>")[0]
    assert "://" not in before_scripts
    assert "<link" not in before_scripts
    assert "Recorded." in page
    assert "It &lt;b&gt;began&lt;/b&gt;." in page
    assert "@media print" in page


def test_figures_with_count_and_interval():
    parts = render_purchase_parts(sample_purchase())
    assert "10.0\N{NO-BREAK SPACE}%" in parts["answer"]
    assert "4 of 40; 2.8 to 23.7\N{NO-BREAK SPACE}%<" in parts["tiers"]
    assert "4 of the 6 outputs of which the first label said Yes" in " ".join(parts["labels"].split())
    assert "1 output stands by fewer labels" in parts["labels"]
    none = render_purchase_parts(sample_purchase(confirmed=0))
    assert "below 8.8\N{NO-BREAK SPACE}%" in none["tiers"]
    assert "That is an upper limit, not a zero." in none["examples"]


def test_two_reports_differ_where_they_differ():
    rows = changes(sample_purchase(), sample_purchase(confirmed=0))
    assert Change("confirmed", "4", "0") in rows
    assert Change("first label said failure", "6", "2") in rows
    assert {row.name for row in rows} == {
        "first label said failure",
        "confirmed",
        "certificate",
        "estimate",
    }
    assert changes(sample_purchase(), sample_purchase(name="other")) == []
    with pytest.raises(BadInput, match="difference"):
        changes(sample_purchase(), {**sample_purchase(), "kind": "difference"})


def test_as_text_for_a_terminal():
    report = sample_purchase()
    report["plan"]["designs"]["stratified"]["title"] = "Stratified"
    plans = render_plans(report["plan"])
    assert "* Simple random sampling" in plans
    assert "  Stratified: none" in plans
    assert "2.60" in plans
    answer = render_answer(report)
    assert "10.0 % of the filter's outputs fail (4 of 40; 95 % interval 2.8 to 23.7 %)." in answer
    assert "52 labels bought; 52 planned (+0.0 %)." in answer
    assert "Confirmed: 4 of 6 whose first label said Yes." in answer


def test_a_difference_speaks_of_points_of_both_filters_and_of_no_floor():
    report = sample_difference()
    found, certified = report["difference"]["found"], report["difference"]["chained"]
    parts = {
        name: html.unescape(" ".join(text.replace("\N{NO-BREAK SPACE}", " ").split()))
        for name, text in render_purchase_parts(report).items()
    }
    low, high = (f"{-100 * found['difference'][end]:+.1f}".replace("-", "\N{MINUS SIGN}") for end in ("high", "low"))
    gap = f"\N{MINUS SIGN}1.0 points ({low} to {high})"
    assert f"{gap} of failures per prompt" in parts["answer"]
    assert "answer differently at 40 of 500 prompts" in parts["answer"]
    assert "the other alone fails at 6, this one alone at 1, both at 2" in parts["answer"]
    assert "Only elder fails" in parts["tiers"]
    assert '<span class="value">1.2 %</span><span class="interval">6 of 500 prompts; ' in parts["tiers"]
    assert "too few labels for a model" not in parts["tiers"]
    assert "Had that been enough" not in parts["labels"], "a share of both filters' outputs is nobody's rate"
    assert f"at most {100 * certified['upper']:.1f} %" in parts["tiers"]
    assert certified["note"] in parts["tiers"]
    assert "No method" not in parts["plan"], "no floor is known of a difference"
    assert "neither opinion" not in parts["caveats"], "nothing leans on scores"
    assert "Going on from" not in render_purchase_parts(sample_difference(linked=False))["answer"]
    text = render_answer(report)
    counted = f"(one alone fails at 7 of 40 places labelled; {low} to {high};"
    assert f"difference, nothing assumed     \N{MINUS SIGN}1.0 points {counted}" in text
    plans = render_plans(report["plan"])
    assert "floor:" not in plans
    assert " 0 " not in plans.splitlines()[2]


def test_a_difference_by_outputs_has_three_tiers_and_speaks_of_outputs():
    report = sample_by_outputs()
    parts = {
        name: " ".join(part.replace("\N{NO-BREAK SPACE}", " ").split())
        for name, part in render_purchase_parts(report).items()
    }
    assert "of 30 of the other&#39;s outputs 6 fail, of 25 of this one&#39;s 3." in parts["answer"]
    assert (
        "Whatever the scores are worth, it is \N{MINUS SIGN}0.6 points (\N{MINUS SIGN}4.1 to +1.6)." in parts["answer"]
    )
    assert "Only " not in parts["tiers"]
    assert "elder fails where the two differ" in parts["tiers"]
    assert "Both fail" not in parts["tiers"]
    assert "per prompt, from 6 failures among 30 outputs labelled; " in parts["tiers"]
    assert "Certificate, if the labels hold" in parts["tiers"]
    assert "an estimate that leans on scores may miss such failures" in parts["caveats"]
    assert "To notice an improvement</dt><dd>That this filter fails 50 % less often" in parts["plan"]
    text = render_answer(report)
    same = "\N{MINUS SIGN}0.6 points (9 failures among 55 outputs labelled; \N{MINUS SIGN}"
    assert f"certificate, if the labels hold {same}4.1 to +1.6; MOVER of gamma, 95 %)" in text
    assert f"estimate, by the design         {same}2.4 to +1.1;" in text
    assert "takes 338 outputs." in render_plans(report["plan"])


def test_not_shown_is_not_said_to_be_equal():
    unclear = sample_difference(old=2, new=1)
    smallest = unclear["difference"]["smallest"]
    said = f"only a difference of at least {100 * smallest:.1f} points is found with a chance of 80 %."
    assert said in render_answer(unclear)
    assert "Not shown is not equal" not in render_answer(sample_difference(old=20, new=0)), "it is shown"
    assert "So few labels find no difference with a chance of 80 %" in render_answer(sample_by_outputs(smallest=None))
    old = sample_difference(old=2, new=1)
    for name in ("smallest", "power"):
        del old["difference"][name]
    del old["difference"]["found"]["paired"]
    assert "Not shown" not in render_answer(old), "reports of before lack it"


def test_a_difference_of_rare_rates_keeps_its_digits():
    rate = {"estimate": -0.00012, "low": -0.0004, "high": 0.0, "level": 0.95, "method": "", "failures": 3, "n": 9}
    assert points(rate) == "\N{MINUS SIGN}0.012 points (\N{MINUS SIGN}0.040 to 0)"
    assert points({**rate, "low": -0.05}) == "0 points (\N{MINUS SIGN}5.0 to 0)"


def test_the_label_error_assumed_and_what_it_does():
    """2 of 36 sound outputs got a first Yes: three of three are wrong at (2/36)^3 of them, too few to see."""
    report = sample_purchase()
    labels = " ".join(render_purchase_parts(report)["labels"].replace("\N{NO-BREAK SPACE}", " ").split())
    assert "100 % of failures get a Yes, and 5.56 % of sound outputs do too. A Yes counts after 2 more" in labels
    assert "2 of 36 outputs that are no failures got a first Yes, in truth up to 18.7 %" in labels
    assert "What annotators miss they do not show. Allowing for that leaves the estimate as it is." in labels
    effect = label_effect(clopper_pearson(4, 40), Labeler(0.8, 0.9), confirmations=1)
    report["label_error"] = {**report["label_error"], "assumed_by": "settings", "effect": effect.as_dict()}
    would_be = 100 * (0.1 - 0.01) / (0.64 + 0.99 - 1)
    answer = render_answer(report)
    assert f"So 10.0 % (2.8 to 23.7 %) would be {would_be:.1f} % (" in answer
    assert "and 10 % of sound outputs do too. A Yes counts after 1 more: then 0.01 of sound outputs" in answer
    assert "In the difference false ones cancel." in render_answer(sample_difference())
    before = {name: value for name, value in report.items() if name != "label_error"}
    assert "Label error" not in render_purchase_parts(before)["labels"], "a report of before"


@pytest.mark.parametrize("interval", ["estimate", "certificate"])
def test_the_interval_that_was_wanted_is_the_one_that_is_held_against_it(interval):
    report = sample_purchase()
    report["asked"] = {**report["asked"], "interval": interval, "relative": 0.5}
    rate = {**report["tiers"]["estimate"], "estimate": 0.1, "low": 0.0, "failures": 4}
    report["tiers"]["estimate"] = {**rate, "high": 0.1}
    report["tiers"]["certificate"] = {**rate, "high": 0.3}
    report["plan"]["guess"] = None
    said = "wider than the ±50 % wanted (\N{MINUS SIGN}100 to +200 %)" in verdict(report)
    assert said == (interval == "certificate")


def test_a_weighted_rate_is_no_fraction_of_what_was_labelled():
    report = sample_purchase()
    report["tiers"]["estimate"] = {**report["tiers"]["estimate"], "estimate": 0.08}
    said = "8.0 % of the filter's outputs fail (4 failures among 40 outputs labelled; 95 % interval 2.8 to 23.7 %)."
    assert headline(report) == said
    some = sample_difference()
    some["difference"]["found"]["labelled"] = 39
    assert sides(some)[0].counted.startswith("per prompt, from 6 of 39 places labelled; ")


def test_the_axis_of_tiers_has_zero_and_intervals_have_caps():
    report = sample_difference()
    report["tiers"]["certificate"] = {**report["tiers"]["certificate"], "estimate": 0.03, "low": 0.01, "high": 0.05}
    figure = tiers(report)
    assert figure.layout.xaxis.range == (-0.15, 5.15)
    assert figure.layout.xaxis.zeroline is True
    assert (figure.data[0].mode, figure.data[0].marker.symbol) == ("lines+markers", "line-ns-open")
    assert tiers(sample_purchase()).layout.xaxis.range[0] < 0
