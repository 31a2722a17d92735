import pytest

from engine.errors import BadInput
from engine.evaluation.purchase_report import PARTS, Change, changes, render_purchase, render_purchase_parts
from engine.evaluation.purchase_table import render_answer, render_plans
from tests.engine.sample_purchase import sample_purchase


def test_one_file_with_every_part_and_no_other():
    html = render_purchase(sample_purchase())
    parts = render_purchase_parts(sample_purchase())
    assert list(parts) == list(PARTS)
    for text in parts.values():
        assert text.strip() in html
    before_scripts = html.split("<script>")[0]
    assert "://" not in before_scripts
    assert "<link" not in before_scripts
    assert "Recorded." in html
    assert "It &lt;b&gt;began&lt;/b&gt;." in html
    assert "@media print" in html


def test_figures_with_count_and_interval():
    parts = render_purchase_parts(sample_purchase())
    assert "10.0\N{NO-BREAK SPACE}%" in parts["answer"]
    assert "(4 of 40; 2.8 to 23.7\N{NO-BREAK SPACE}%)" in parts["tiers"]
    assert "4 of the 6 outputs of which the first label said Yes" in " ".join(parts["labels"].split())
    assert "1 outputs stand by fewer labels" in parts["labels"]
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
