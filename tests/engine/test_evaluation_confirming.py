import pytest

from engine.aggregation import Vote
from engine.evaluation.confirming import Standing, standing


def votes(text, staff=""):
    names = {"y": "Yes", "n": "No", "u": "Unsure"}
    given = [Vote(str(i), names[letter]) for i, letter in enumerate(text)]
    return given + [Vote(f"s{i}", names[letter], staff=True) for i, letter in enumerate(staff)]


@pytest.mark.parametrize(
    ("given", "consensus", "by", "lacking", "failure", "suspected"),
    [
        ("", None, "all", 1, False, False),
        ("n", "No", "all", 0, False, False),
        ("u", "Unsure", "all", 0, False, False),
        ("y", "Yes", "all", 2, False, True),
        ("yy", "Yes", "all", 1, False, True),
        ("yyy", "Yes", "all", 0, True, True),
        ("yn", "Yes", "all", 0, False, True),
        ("yyn", "Yes", "all", 0, False, True),
        ("yyn", "Yes", "consensus", 0, True, True),
        ("ynn", "No", "consensus", 0, False, True),
        ("yn", "Yes", "consensus", 1, False, True),
    ],
)
def test_a_failure_counts_once_it_is_confirmed(given, consensus, by, lacking, failure, suspected):
    found = standing(votes(given), consensus, "Yes", first=1, confirmations=2, by=by)
    assert (found.lacking, found.failure, found.suspected) == (lacking, failure, suspected)


def test_first_labels_that_differ_and_no_confirmations():
    assert standing(votes("yn"), "Yes", "Yes", first=2, confirmations=2, by="consensus").lacking == 2
    assert standing(votes("y"), "Yes", "Yes", first=3, confirmations=0).lacking == 2
    assert standing(votes("y"), "Yes", "Yes", first=1, confirmations=0) == Standing(0, failure=True, suspected=True)


def test_staff_have_the_last_word():
    assert standing(votes("", "y"), "Yes", "Yes", first=1, confirmations=2) == Standing(0, True, True)
    assert standing(votes("yyy", "n"), "No", "Yes", first=1, confirmations=2) == Standing(0, False, True)


def test_where_nobody_else_can_judge_it_stands_by_what_there_is():
    assert standing(votes("y"), "Yes", "Yes", first=1, confirmations=2, most=1) == Standing(0, True, True, alone=True)
    assert standing(votes("y"), "Yes", "Yes", first=1, confirmations=2, most=2).lacking == 1
    assert standing(votes("n"), "No", "Yes", first=3, confirmations=2, most=1) == Standing(0, False, False, alone=True)
    assert standing([], None, "Yes", first=1, confirmations=2, most=0) == Standing(0, False, False, alone=True)
