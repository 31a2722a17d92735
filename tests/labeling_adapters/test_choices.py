"""What a text says for a choice."""

from __future__ import annotations

import pytest

from labeling_adapters.choices import as_choice


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("Yes", "Yes"),
        (" yes\t", "Yes"),
        ("UNSURE", "Unsure"),
        ("\ufeffno ", "\ufeffno"),
        ("Perhaps ", "Perhaps"),
        ("", ""),
    ],
)
def test_case_and_space_do_not_matter(text: str, choice: str) -> None:
    assert as_choice(text, ["Yes", "Unsure", "No"]) == choice


def test_of_choices_that_differ_by_case_alone_the_exact_one_then_the_first() -> None:
    assert [as_choice(text, ["US", "us"]) for text in ("US", "us", "Us")] == ["US", "us", "US"]
