"""The report's section on attacks: its sentences, figures, and candidates with their edits marked."""

import copy
import re
from html import unescape

import pytest

from engine.evaluation.attack_wording import attack_answer, finds, per_unit
from engine.evaluation.charts import colour_of, figures
from engine.evaluation.rates import garwood
from engine.evaluation.report import render_fragments, render_html, render_table
from tests.engine.sample_report import PROMPT, SEED_TEXT, WRITTEN, sample_report

MINUS = "\N{MINUS SIGN}"
EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>"


@pytest.fixture(scope="module")
def report():
    return sample_report()


def with_verdicts(report, **verdicts):
    """The same report, where the attacks have these verdicts."""
    other = copy.deepcopy(report)
    for one in other["attacks"]:
        if one["name"] in verdicts:
            one["comparison"]["verdict"] = verdicts[one["name"]]
    return other


def section(report):
    return render_fragments(report)["attacks"]


def words(text):
    """What a reader sees, in one line."""
    return " ".join(unescape(re.sub(r"(?s)<script.*?</script>|<[^>]+>", " ", text)).split()).replace("\xa0", " ")


def test_sentences_say_what_training_did(report):
    found = attack_answer(report)
    assert found.direction == "unclear"
    assert found.summary == (
        "Training on paraphrases lowered the yield of 1 of the 3 attacks that were only measured: token substitution. "
        "That is not shown for rewrite search and filler."
    )
    assert found.sentences["paraphrase"] == (
        f"Training on paraphrases lowered the yield of paraphrases: 22 of 39 seeds broken before, 5 after: {MINUS}43.6 "
        f"points ({MINUS}59.0 to {MINUS}29.3), exact McNemar p < 0.001, Holm over 4 attacks."
    )
    assert found.sentences["substitution"].startswith(
        "Training on paraphrases lowered the yield of token substitution too: 18 of 39 seeds broken before, 5 after: "
    )
    assert found.sentences["rewrite"] == (
        "Training on paraphrases is not shown to have lowered the yield of rewrite search: 14 of 39 seeds broken "
        f"before, 13 after: {MINUS}2.6 points ({MINUS}13.2 to +6.6), exact McNemar p = 1.00, Holm over 4 attacks."
    )


@pytest.mark.parametrize(
    ("verdicts", "direction", "summary"),
    [
        (
            {"substitution": "lower", "rewrite": "lower", "filler": "lower"},
            "better",
            "Training on paraphrases lowered the yield of all 3 attacks that were only measured: token substitution, "
            "rewrite search and filler.",
        ),
        (
            {"substitution": "not shown lower"},
            "unclear",
            "Training on paraphrases is not shown to have lowered the yield of any attack that was only measured.",
        ),
        (
            {"substitution": "higher", "rewrite": "lower", "filler": "no comparison"},
            "worse",
            "Training on paraphrases lowered the yield of 1 of the 3 attacks that were only measured: rewrite search. "
            "More seeds than before are broken by token substitution. Not compared: filler.",
        ),
    ],
)
def test_the_summary_fits_the_verdicts(report, verdicts, direction, summary):
    other = with_verdicts(report, **verdicts)
    found = attack_answer(other)
    assert (found.direction, found.summary) == (direction, summary)
    assert f'<p class="verdict {direction}">{summary}</p>' in section(other)
    assert summary in " ".join(render_table(other).split())


def test_one_or_two_measured_attacks(report):
    other = with_verdicts(report, rewrite="lower")
    other["attacks"] = other["attacks"][:2]
    assert attack_answer(other).summary == (
        "Training on paraphrases lowered the yield of the attack that was only measured: token substitution."
    )
    other = with_verdicts(report, rewrite="lower")
    other["attacks"] = other["attacks"][:3]
    assert attack_answer(other).summary == (
        "Training on paraphrases lowered the yield of both attacks that were only measured: token substitution and "
        "rewrite search."
    )


def test_more_breaks_and_no_comparison_are_said_plainly(report):
    found = attack_answer(with_verdicts(report, substitution="higher", filler="no comparison")).sentences
    assert found["substitution"].startswith(
        "After training on paraphrases, token substitution breaks more seeds: 18 of 39 seeds broken before, 5 after"
    )
    assert found["filler"] == (
        "The yield of filler before and after training on paraphrases is not compared: no seed is known in both runs."
    )


def test_without_training_there_is_no_claim_about_it(report):
    other = copy.deepcopy(report)
    for one in other["attacks"]:
        one["trains"] = False
    found = attack_answer(other)
    assert found.summary == ""
    assert found.sentences["substitution"].startswith("Retraining lowered the yield of token substitution too: ")


def test_several_trained_attacks_are_named(report):
    other = copy.deepcopy(report)
    other["attacks"][1].update(trains=True, title="HotFlip")
    other["attacks"][1]["title"] = "AST adversary"
    assert (
        attack_answer(other).sentences["rewrite"].startswith("Training on paraphrases and AST adversary is not shown")
    )


def test_groups_change_the_name_of_the_test(report):
    other = copy.deepcopy(report)
    for one in other["attacks"]:
        one["comparison"]["seeds"]["p_value_clusters"] = 0.5
        one["comparison"].update(attacks=1, p_adjusted=0.0123)
    assert attack_answer(other).sentences["rewrite"].endswith(", sign flips of groups p = 0.012.")


def test_rates_per_unit_of_exposure():
    assert (per_unit(None), finds(None)) == ("no data", "")
    assert (per_unit(garwood(0, 6).as_dict()), finds(garwood(0, 6).as_dict())) == ("below 0.61", "0 finds")
    assert (per_unit(garwood(1, 0.5).as_dict()), finds(garwood(1, 0.5).as_dict())) == ("2.0", "1 find; 0.051 to 11")
    assert per_unit(garwood(1200, 1).as_dict()) == "1,200"
    assert finds({**garwood(1, 0.5).as_dict(), "low": 9.4e-46}) == "1 find; 0 to 11"


def test_the_section_has_the_figures(report):
    text = words(section(report))
    for expected in (
        "Paraphrases its finds on training failures were trained on", "Token substitution only measured",
        "10 candidates a seed at most, 200 queries a seed, 5 minutes in all. Simulated. The paraphraser knows",
        "Seeds broken 56.4 % 22 of 39; 39.6 to 72.2 % 1 left out: not labelled yet 12.8 % 5 of 39; 4.3 to 27.4 %",
        "Failures among the labelled 28.2 % 22 of 78; 18.4 to 39.7 % 6.4 % 5 of 78; 2.1 to 14.5 %",
        "Failures per 1,000 queries 3.8 22 finds; 2.4 to 5.7 0.85 5 finds; 0.28 to 2.0",
        "Failures per labeler minute 0.71 22 finds; 0.44 to 1.1 0.16 5 finds; 0.052 to 0.37",
        "Candidates that the classifier accepts 80 78 labelled 80 78 labelled",
        "Queries texts that the classifier scored 6,000 75.0 a candidate",
        "Similarity to the seed mean over candidates 0.86 0.86", "Edits mean over candidates not counted not counted",
        "Edits mean over candidates 2.5 2.5", "Labels 78 in 31 min 12 s", "Time of the attack 48 s 48 s",
        "How seeds ended most kept: 24 query budget: 16",
        "Asked of endpoints $1.24 812 requests 412,300 tokens 40 more from the cache",
        "Seeds broken below 8.8 % 0 of 40 below 8.8 % 0 of 40", "Failures per 1,000 queries below 0.61 0 finds",
        "Failures per labeler minute no data no data", "Strongest against baseline It found none.",
        "Strongest against retrained 10, lowest score first", "Strongest against retrained 10, highest reward first",
        "P values are adjusted over the attacks compared (Holm)",
    ):  # fmt: skip
        assert expected in text


def test_seeds_left_out_and_accepted_unedited_are_told(report):
    other = copy.deepcopy(report)
    other["attacks"][0]["runs"][1]["yields"].update(accepted_unedited=3, open_seeds=0)
    assert "5 of 39; 4.3 to 27.4 % 3 of them accepted unedited" in words(section(other))


def test_edits_are_marked_in_place(report):
    page = section(report)
    assert (
        'She felt the rope go <del><span class="sr">[deleted: </span>slack<span class="sr">]</span></del>'
        '<ins><span class="sr">[inserted: </span>loose<span class="sr">]</span></ins>, and then'
    ) in page
    text = words(page)
    assert "labelled Yes · retrained 0.000400 · similarity 0.91 · 2 edits" in text
    assert "not labelled yet · retrained 0.000800 · similarity 0.91 · 2 edits" in text
    assert "retrained 0.000400 · reward 3.10 · similarity 0.91 · 4 edits" in text
    assert "· 1 edit " not in text, "the filler attack found none"


def test_what_changed_altogether_stands_beside_its_seed(report):
    prompt, completion, _ = WRITTEN["paraphrase"]
    text = words(section(report))
    assert f"Seed {PROMPT} {SEED_TEXT} Candidate {prompt} {completion} labelled Yes" in text
    assert text.count("Candidate " + prompt) == 20
    same = copy.deepcopy(report)
    for one in same["attacks"][0]["runs"][0]["strongest"]:
        one["prompt"] = PROMPT
    assert f"{PROMPT} Seed {SEED_TEXT} Candidate {completion} labelled Yes" in words(section(same))


def test_a_prompt_changed_altogether_is_enough_to_stand_beside(report):
    other = copy.deepcopy(report)
    prompt = WRITTEN["paraphrase"][0]
    other["attacks"][1]["runs"][1]["strongest"][0]["prompt"] = prompt
    completion = WRITTEN["substitution"][1]
    assert f"Seed {PROMPT} {SEED_TEXT} Candidate {prompt} {completion} labelled Yes" in words(section(other))


def test_the_last_classifier_comes_first_and_shows_two(report):
    page = section(report)
    part = page[page.index("Token substitution <") : page.index("Rewrite search <")]
    titles = re.findall(r"<h4>(Strongest against \w+)", part)
    assert titles == ["Strongest against retrained", "Strongest against baseline"]
    assert part.split("<h4>")[1].split("<details>")[0].count("<blockquote>") == 2
    assert part.split("<h4>")[2].split("<details>")[0].count("<blockquote>") == 0
    assert "8 more candidates" in words(part)


def test_ten_are_listed_in_the_order_given(report):
    page = section(report)
    scores = re.findall(r"baseline (0\.0\d+)", words(page[page.index("Token substitution <") :]))
    assert [float(score) for score in scores] == pytest.approx([0.0004 * place for place in range(1, 11)] * 2)


def test_text_from_outside_is_data_and_hides_nothing(report):
    other = copy.deepcopy(report)
    attack = other["attacks"][1]
    attack.update(title=EVIL, settings=EVIL, simulated=EVIL)
    attack["runs"][0].update(classifier=EVIL, stops={EVIL: 3})
    one = attack["runs"][0]["strongest"][0]
    one.update(label=EVIL, completion=f"{SEED_TEXT} {EVIL} \u202eevil\u202c \u2066x\u2069 \u200b\x00")
    attack["runs"][0]["strongest"][1].update(prompt=EVIL, completion=EVIL)
    page = section(other)
    assert "<script>" not in page
    assert "<img" not in page
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u200b\x00]", page)
    assert "[U+202E]evil[U+202C] [U+2066]x[U+2069] [U+200B][U+0000]" in page
    assert f'<ins><span class="sr">[inserted: </span> {EVIL.replace("<", "&lt;").replace(">", "&gt;")} [U+202E]' in page
    assert "\x1b" not in render_table(other)
    assert "<script>alert" not in render_html(other).replace("\\u003c", "")


def test_the_chart_shows_seeds_broken(report):
    figure = figures(report)["attacks"]
    dots = [trace for trace in figure.data if trace.mode == "markers"]
    assert [round(dot.x[0], 1) for dot in dots] == [56.4, 12.8, 46.2, 12.8, 35.9, 33.3, 0, 0]
    assert [dot.marker.color for dot in dots] == [colour_of(0), colour_of(1)] * 4
    lines = [trace.x for trace in figure.data if trace.mode == "lines"]
    assert lines[0] == pytest.approx((39.6, 72.2), abs=0.05)
    assert lines[-1] == pytest.approx((0, 8.8), abs=0.05)
    titles = [note.text for note in figure.layout.annotations if note.text.startswith("<b>")]
    assert titles == ["<b>Paraphrases</b>", "<b>Token substitution</b>", "<b>Rewrite search</b>", "<b>Filler</b>"]
    assert "0 of 40, below 8.8 %" in figure.layout.annotations[-1].text


def test_one_classifier_is_not_compared():
    report = sample_report(classifiers=("baseline",))
    assert attack_answer(report).sentences == {}
    assert "Holm" not in section(report)
    assert "Yield of token substitution         23.1 % (18 of 78 labelled)\n" in render_table(report)


def test_an_attack_that_did_not_run_is_listed(report):
    other = copy.deepcopy(report)
    other["attacks"][3].update(runs=[], comparison=None)
    assert "It was not run." in section(other)
    table = render_table(other)
    assert "Yield of filler                     not run" in table
    assert re.search(r"Seeds broken, filler +not attacked +not attacked", table)


def test_a_report_stored_before_attacks_were_compared_still_reads(report):
    old = copy.deepcopy(report)
    del old["attacks"]
    old["attack"] = {"seeds": 3, "drawn": 4, "accepted": 1, "labelled": 0, "labelled_failure": 0, "yield_rate": None}
    assert render_fragments(old)["attacks"].strip() == ""
    assert "Seeds broken" not in render_table(old)
    assert "<h1>" in render_html(old)
