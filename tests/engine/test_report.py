import base64
import copy
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from shutil import which

import pytest

from engine.evaluation.charts import CHARTS, colour_of, figures
from engine.evaluation.reliability_wording import reliability_words
from engine.evaluation.report import PARTS, chart_specs, render_fragments, render_html, render_table
from engine.evaluation.report_data import STANDARD_CAVEATS, current
from engine.evaluation.wording import answer, percent, plain, score
from tests.engine.sample_report import FOOLED, HELD_OUT, sample_report

EVIL = "<img src=x onerror=alert(1)></script><a href='javascript:alert(2)'>"


@pytest.fixture(scope="module")
def report():
    return sample_report()


@pytest.fixture(scope="module")
def page(report):
    return render_html(report)


class Reader(HTMLParser):
    """Text people see, elements that fetch, and tags left open."""

    VOID = frozenset({"meta", "link", "img", "br", "hr", "input"})

    def __init__(self, page):
        super().__init__()
        self.texts, self.links, self.open, self.headings = [], [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip() and self.open[-1] not in ("script", "style"):
            self.texts.append(" ".join(data.split()))
            if self.open[-1] in ("h1", "h2"):
                self.headings.append(self.texts[-1])


def changed(report, **parts):
    return {**copy.deepcopy(report), **parts}


def test_the_first_line_answers_in_words(report):
    before, after = (one["assessment"]["adversarial"][HELD_OUT]["fnr"] for one in report["classifiers"])
    found = answer(report)
    assert found.headline == (
        "After the round, the filter accepts 9 of 143 held-out adversarial failures (6.3 %, 95 % interval 2.9 to "
        "11.7 %); before, 37 of 143 (25.9 %, 18.7 to 34.2 %); each at KL 0.5."
    )
    assert (before["failures"], after["failures"]) == (37, 9)
    assert found.direction == "better"
    assert found.verdict.startswith("The retrained filter is better on this attack: \N{MINUS SIGN}19.6 points (")
    assert "28 newly caught, 0 newly missed; sign flips of seeds p < 0.001" in found.verdict


def test_no_clear_gain_is_said_plainly():
    found = answer(sample_report(gain=0.3))
    assert found.direction == "unclear"
    assert found.verdict.startswith("The retrained filter is not shown to be better: the difference, ")


def test_a_loss_is_said_plainly():
    report = sample_report(gain=-1.5)
    assert answer(report).direction == "worse"
    assert "The retrained filter is worse on this attack" in render_table(report)
    assert "The retrained filter is worse on this attack" in render_fragments(report)["answer"]


def test_an_own_target_is_no_comparison(report):
    found = answer(changed(report, main_set=FOOLED))
    assert found.direction == "no comparison"
    assert "kept only what baseline accepts, so its rate is 1.0 by construction" in found.verdict


def test_no_failures_read_as_a_limit(report):
    quiet = copy.deepcopy(report)
    rate = quiet["classifiers"][1]["assessment"]["adversarial"][HELD_OUT]["fnr"]
    rate.update(estimate=0.0, low=0.0, high=0.0255, failures=0)
    assert "accepts 0 of 143 held-out adversarial failures (95 % interval up to 2.5 %)" in answer(quiet).headline
    assert re.search(r"below 2\.5 %", render_table(quiet))
    assert "0 %" not in answer(quiet).headline.replace("95 % interval up to", "")


def test_more_false_alarms_are_mentioned(report):
    strict = copy.deepcopy(report)
    strict["classifiers"][1]["assessment"]["fpr"].update(estimate=0.5, low=0.4, high=0.6)
    assert answer(strict).cost.endswith(
        "rejects 50.0 % of harmless snippets (before, 16.3 %): it rejects more than before."
    )


def test_the_table_is_aligned_and_complete(report):
    lines = render_table(report).splitlines()
    head = lines[0]
    ends = [head.index(name) + len(name) for name in ("baseline", "retrained")]
    rules = [i for i, line in enumerate(lines) if set(line) == {"-"}]
    for line in lines[rules[0] + 1 : rules[1]]:
        assert len(line) <= len(lines[rules[0]]) == ends[1]
        assert line[ends[0] : ends[0] + 2].strip() == ""
    text = "\n".join(lines)
    for words in (
        "Threshold", "KL at the threshold, nats", "Quality at the threshold", "Lowest threshold by quality",
        "720 pairs, quality above 48.0 %", "False negatives, in distribution", "Failure rate per output",
        "as in the paper", "False positives", "Labels spent", "2,130 by 6 annotators in 4 h 34 min",
        "Krippendorff's alpha", "37 of 143, 18.7 to 34.2 %", "9 of 143, 2.9 to 11.7 %", "100 %*",
        "* 1.0 by construction", "Seeds broken, token substitution", "18 of 39, 30.1 to 62.8 %",
        "5 of 39, 4.3 to 27.4 %",
        "Yield of paraphrases                28.2 % (22 of 78 labelled) \N{RIGHTWARDS ARROW} 6.4 % (5 of 78 labelled)",
    ):  # fmt: skip
        assert words in text
    assert text.isascii() is False
    assert render_table(report, ascii_only=True).isascii()


def test_a_terminal_gets_no_control_characters(report):
    evil = copy.deepcopy(report)
    evil["classifiers"][0]["name"] = "\x1b[31mred\x07\nname"
    table = render_table(evil)
    assert "\x1b" not in table
    assert "[31mred name" in table


def test_the_page_needs_nothing_else(page):
    assert page.count("plotly.js v") == 1
    reader = Reader(page.split("<script>", 1)[0])
    assert all(link.startswith("data:") for link in reader.links)
    assert not re.search(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=[\"']?(?:https?:)?//", page)
    assert "default-src 'none'" in page


def test_the_page_reads_in_order(page, report):
    reader = Reader(re.sub(r"(?s)<script>.*?</script>", "", page))
    assert reader.open == []
    assert reader.texts[1] == "Simulated."
    assert reader.headings[0] == answer(report).headline
    assert reader.headings[1:] == [
        "How many failures get through", "Before and after", "How often the filters themselves fail",
        "What the attacks find",
        "Who misses what was made to fool whom", "From completions to failures",
        "Misses against false alarms",
        "What a threshold costs", "What a threshold costs in quality",
        "Where snippets score", "Labels", "Do annotators agree?", "Snippets to read",
        "Read these with every number", "Where the figures come from", "Time",
    ]  # fmt: skip
    text = " ".join(reader.texts)
    for caveat in (*STANDARD_CAVEATS, *report["caveats"]):
        assert caveat in text
    assert "Thresholds rest on 120 prompts" in text


def test_the_page_carries_its_figures(page, report):
    data = re.search(r'href="data:application/json;base64,([^"]+)"', page).group(1)
    assert json.loads(base64.b64decode(data)) == json.loads(json.dumps(report))


def test_without_simulation_there_is_no_notice():
    assert "Simulated" not in render_fragments(sample_report(simulated=False))["answer"]


def test_text_from_outside_is_data(report):
    evil = copy.deepcopy(report)
    evil["round"].update(name=EVIL, question=EVIL, simulated=EVIL, corpus=EVIL)
    evil["classifiers"][0]["name"] = EVIL
    evil["funnel"][0]["name"] = EVIL
    evil["caveats"] = [EVIL]
    evil["examples"]["false_negatives"] = [
        {"prompt": EVIL, "completion": EVIL, "label": EVIL, "scores": {EVIL: 0.5}, "note": EVIL}
    ]
    for name, text in render_fragments(evil).items():
        assert "<img" not in text, name
        assert "javascript:alert(2)'>" not in text, name
        assert "</script><a" not in text, name
    page = render_html(evil)
    assert "<img src=x" not in page


def test_the_fragments_are_the_parts_of_the_page(report, page):
    fragments = render_fragments(report)
    assert tuple(fragments) == PARTS
    assert all(text in page for text in fragments.values())
    assert not any("<script>" in text for text in fragments.values()), "nothing in a fragment runs by itself"
    drawn = re.findall(r'data-chart="(\w+)"', "".join(fragments.values()))
    assert sorted(drawn) == sorted(CHARTS)


def test_every_chart_names_its_axes_and_keeps_the_colours(report):
    for name, figure in figures(report).items():
        axes = [axis.title.text for axis in figure.select_xaxes() if axis.title.text]
        assert axes, name
        assert figure.layout.showlegend is False
    for name in ("adversarial", "attacks", "roc", "kl", "quality", "scores"):
        spec = chart_specs(report)[name]["json"]
        assert colour_of(0) in spec
        assert colour_of(1) in spec
        assert set(json.loads(spec)) >= {"data", "layout"}
    assert colour_of(0) not in chart_specs(report)["funnel"]["json"]


def test_own_targets_are_faded(report):
    dots = {trace.hovertemplate: trace for trace in figures(report)["adversarial"].data if trace.mode == "markers"}
    own = [trace for text, trace in dots.items() if "by construction" in text]
    assert len(own) == 1
    assert own[0].opacity < 0.5
    assert own[0].marker.symbol == "circle-open"
    assert 'class="num own"' in render_fragments(report)["table"]


@pytest.mark.parametrize("classifiers", [(), ("baseline",), ("baseline", "+manual", "+paraphrases", "+tool-assisted")])
def test_any_number_of_classifiers(classifiers):
    report = sample_report(classifiers=classifiers)
    assert "<h1>" in render_html(report)
    assert render_table(report)


def test_parts_may_be_missing(report):
    bare = changed(
        report,
        funnel=[], comparisons={}, agreement=None, kappas=[], attacks=[], timing=[], lineage=[], caveats=[],
        examples={"false_negatives": [], "false_positives": [], "attack": []},
    )  # fmt: skip
    for one in bare["classifiers"]:
        one["assessment"].update(failure_rate=None, adversarial={})
        one["training"] = []
    page = render_html(bare)
    assert "It was assessed on no adversarial set." in page
    assert "That is an upper limit, not a zero." in page
    assert "Failure rate" not in render_table(bare)


def test_quality_says_what_it_rests_on(report):
    found = render_fragments(report)["quality"]
    assert "700 pairs of unfiltered completions of 120 prompts were compared once. 20 needed nobody" in found
    assert "Simulated readers compared." in found
    in_use = report["classifiers"][1]["quality"]["in_use"]
    assert f"{percent(in_use['estimate'])}" in render_table(report)
    band = figures(report)["quality"].data
    curve = report["classifiers"][0]["quality"]["curve"]
    assert [list(trace.y) for trace in band[:3]] == [[100 * point[k] for point in curve] for k in (2, 3, 1)]


def test_a_report_from_before_completions_were_compared_still_renders(report):
    old = copy.deepcopy(report)
    for one in old["classifiers"]:
        del one["quality"]
    assert "What a threshold costs in quality" not in render_html(old)
    assert "uality" not in render_table(old)
    assert "quality" not in chart_specs(old)
    half = copy.deepcopy(report)
    half["classifiers"][0]["quality"] = None
    assert "not compared" in render_table(half)
    assert "What a threshold costs in quality" in render_html(half)


def test_unequal_targets_are_a_caveat(report):
    uneven = copy.deepcopy(report)
    uneven["classifiers"][1]["calibration"]["target"] = 0.3
    assert "calibrated to different KL divergences" in render_fragments(uneven)["caveats"]
    assert "each at KL" not in answer(uneven).headline


@pytest.mark.parametrize(
    ("share", "words"),
    [(None, "no data"), (0, "0 %"), (1, "100 %"), (0.63, "63.0 %"), (0.0312, "3.1 %"), (0.00031, "0.031 %")],
)
def test_percentages_fit_their_size(share, words):
    assert percent(share) == words


@pytest.mark.parametrize(
    ("value", "words"), [(0.0017, "0.00170"), (0.5, "0.500"), (0.99999, "1 \N{MINUS SIGN} 1.0e-05"), (2e-7, "2.00e-07")]
)
def test_scores_are_never_rounded_to_an_end(value, words):
    assert score(value) == words


def test_plain_text_is_one_short_line():
    assert plain("a\tb\x00c\u202ed") == "a b c d"
    assert plain("x" * 50, 10) == "x" * 9 + "\N{HORIZONTAL ELLIPSIS}"


def test_measuring_does_not_wait_for_plotly_or_scikit_learn():
    code = (
        "import sys, engine.aggregation.kappa, engine.evaluation.assessment, engine.evaluation.report_data;"
        "print({'plotly', 'sklearn', 'torch', 'crowdkit'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.browser
@pytest.mark.skipif(which("chromium") is None, reason="Chromium is not installed")
@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (1200, "dark")])
def test_a_browser_draws_it(tmp_path, page, width, scheme):
    from playwright.sync_api import sync_playwright

    path = tmp_path / "report.html"
    path.write_text(page, encoding="utf-8")
    complaints = []
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=which("chromium"), args=["--no-sandbox", "--disable-gpu"])
        tab = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True
        ).new_page()
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        tab.goto(path.as_uri())
        tab.wait_for_function("document.querySelectorAll('.chart .main-svg').length >= 10")
        assert tab.evaluate("document.documentElement.scrollWidth") == width
        ink = tab.evaluate("getComputedStyle(document.querySelector('.chart .annotation-text')).fill")
        assert ink == ("rgb(28, 30, 33)" if scheme == "light" else "rgb(228, 230, 232)")
        browser.close()
    assert complaints == []


def test_the_cross_matrix_marks_own_targets(report):
    text = render_fragments(report)["robustness"]
    rows = re.findall(
        r"(?s)<tr role=\"row\"><th scope=\"row\" role=\"rowheader\">(.*?)</tr>", text.split("</table>")[0]
    )
    assert [re.sub("<[^>]+>", "", row.split("</th>")[0]) for row in rows] == ["baseline", "retrained"]
    assert [[" own" in cell for cell in re.findall(r"<td role=\"cell\" class=\"([^\"]*)\"", row)] for row in rows] == [
        [True, False], [False, True]
    ]  # fmt: skip
    own = report["robustness"]["false_negatives"]["cells"][0]
    assert own["credible"]["estimate"] == 1.0
    assert f'100 %</span><span class="interval">{own["credible"]["failures"]} of' in text.replace(
        "\N{NO-BREAK SPACE}", " "
    )
    assert "False negatives on the validation split" in text


def test_a_report_from_before_robustness_renders_without_it(report):
    old = {name: value for name, value in report.items() if name != "robustness"}
    assert render_fragments(old)["robustness"].strip() == ""
    assert "made to fool whom" not in render_html(old)


def test_labels_bought_for_the_filters_are_told_in_three_tiers_and_compared() -> None:
    report = sample_report()
    words = reliability_words(report)
    names = [one["name"] for one in report["classifiers"]]
    assert words[0].startswith(
        f"The two filters answer differently at 60 of 300 prompts; by 142 labels there, at 9 only {names[0]} fails and "
        f"at 2 only {names[-1]}."
    )
    assert "is safer than" not in words[0] or report["reliability"]["difference"]["tiers"]["estimate"]["high"] < 0
    assert words[1].endswith("(97.5 %, one-sided).")
    assert words[2] == (
        "Planned: a difference to ±50 % of the failure rate takes 402 labels where the two differ; two separate tests "
        "2,512, one set labelled in full 980. Confirmations come on top."
    )
    html = render_fragments(report)["reliability"]
    for rests in ("by the design", "whatever the scores are worth", "by a model"):
        assert rests in html
    assert "12 of 300" in html
    table = render_table(report)
    assert "Filter's outputs that fail" in table
    assert "324 labels bought" in table


def test_a_report_from_before_labels_were_bought_has_none() -> None:
    report = {name: value for name, value in sample_report().items() if name != "reliability"}
    assert reliability_words(current(report)) == []
    assert render_fragments(report)["reliability"].strip() == ""
    assert "Filter's outputs that fail" not in render_table(report)
