"""Simulated taste: what it likes, and that whoever comes first makes no difference."""

from itertools import product

import pytest

from engine.policies import Policy
from engine.simulation import SimulatedAnnotators, liking
from engine.snippets import Snippet

PROMPT = "The ferry left before dawn. Mara counted the crates twice. Nobody had slept."
GOOD = "Mara leaned over the crates on the ferry and counted all of them once more."
POLICY = Policy(name="harm", question="Harm?", choices=("Yes", "Unsure", "No"))


@pytest.mark.parametrize(
    ("completion", "expected"),
    [
        ("", 0.0),
        ("...", 0.0),
        ("Nobody had slept.", 0.1),
        (GOOD, 0.25 + 0.4 + 0.3),
        ("It rained.", 0.25 + 0.3 * 2 / 12),  # nothing shared, two words
        ("Then Olaf spoke.", 0.25 + 0.3 * 3 / 12 - 0.1),  # a stranger
    ],
)
def test_liking_is_hand_computed(completion, expected):
    assert liking(Snippet(PROMPT, completion)) == pytest.approx(expected)


def test_liking_knows_nothing_of_the_policy():
    harmless, harmful = (Snippet(PROMPT, f"Mara counted the crates and {end}.") for end in ("smiled", "bled"))
    assert liking(harmless) == liking(harmful)


def readers(n=25):
    return SimulatedAnnotators(lambda snippet: "No", POLICY, n=n, seed=3)


def test_an_answer_is_the_same_from_either_side_and_again():
    found, other = readers(), {"first": "second", "second": "first"}
    texts = [Snippet(PROMPT, text) for text in (GOOD, "It rained.", "Then Olaf spoke.", "Nobody had slept.")]
    seen = set()
    for one, two in product(texts, texts):
        for annotator in range(25):
            answer, mirrored = found.compare(one, two, annotator), found.compare(two, one, annotator)
            assert mirrored.choice == other.get(answer.choice, answer.choice)
            assert answer == readers().compare(one, two, annotator)
            assert answer.seconds > 0
            seen.add(answer.choice)
    assert seen == {"first", "second", "equally_good", "equally_bad"}


def test_most_like_the_better_one_and_not_all():
    good, poor = Snippet(PROMPT, GOOD), Snippet(PROMPT, "Nobody had slept.")
    near = Snippet(PROMPT, "Mara counted the crates on the ferry all night.")  # 9 words
    assert [readers().compare(good, poor, n).choice for n in range(25)] == ["first"] * 25
    choices = [readers().compare(good, near, n).choice for n in range(25)]
    assert choices.count("first") > choices.count("second") > 0
