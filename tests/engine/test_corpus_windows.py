import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.corpus.windows import nth_stop, sentence_after, window_at
from engine.snippets import Snippet, SnippetRules, refusals

PAPER = SnippetRules()
TEXT = 'It rained. "Run," said Anna. The door was open. Inside sat a large grey cat. It purred. So did Anna.'


def test_a_window_is_a_prompt_of_three_sentences_and_a_completion():
    window = window_at(TEXT, 0, PAPER)
    assert window.snippet == Snippet('It rained. "Run," said Anna. The door was open.', "Inside sat a large grey cat.")
    assert (window.start, TEXT[window.end :], window.whole_sentences) == (0, "It purred. So did Anna.", True)


def test_a_short_completion_goes_on_to_the_next_full_stop():
    text = "One. Two. Three. Oh. It was a cat. Four."
    assert window_at(text, 0, PAPER).snippet == Snippet("One. Two. Three.", "Oh. It was a cat.")


def test_quotes_that_close_stay_inside_and_go_at_the_ends():
    text = 'He said, "No." She said, "Go." So he said, "I will not." (And he did not go away.) "Oh."'
    window = window_at(text, 0, PAPER)
    assert window.snippet == Snippet(
        'He said, "No." She said, "Go." So he said, "I will not.', "(And he did not go away."
    )
    assert text[window.end :] == '"Oh."'
    assert refusals(window.snippet, PAPER) == []


def test_each_dot_counts_as_a_full_stop():
    text = "Well... He went to see Mr. Gray about the horse. It was lame."
    window = window_at(text, 0, PAPER)
    assert window.snippet == Snippet("Well...", "He went to see Mr.")
    assert window_at("One. Two. Well... He went to see the horse.", 0, PAPER).snippet == Snippet(
        "One. Two. Well.", "He went to see the horse."
    )


def test_a_full_stop_inside_a_word_is_told():
    text = "It cost 3.50 pounds. Two. He walked all the way to London. Three."
    assert window_at(text, 0, PAPER).whole_sentences
    assert not window_at("One. Two. It cost 3.50 pounds and a half. Three.", 0, PAPER).whole_sentences
    assert not window_at("One. Two. Three. The price of it was about 3.50 pounds.", 0, PAPER).whole_sentences


def test_paragraphs_stay_apart_in_the_prompt_and_not_in_the_completion():
    window = window_at("One.\n\nTwo. Three.\n\nFour came\n\nhome late.", 0, PAPER)
    assert window.snippet == Snippet("One.\n\nTwo. Three.", "Four came home late.")


@pytest.mark.parametrize(
    "text", ["", "One. Two.", "One. Two. Three.", "One. Two. Three. Four", "One. Two. Three. Four."]
)
def test_no_window(text):
    assert window_at(text, 0, PAPER) is None


def test_other_rules():
    one = SnippetRules(prompt_sentences=0, completion_min_chars=False)
    window = window_at("Oh! Yes. No.", 0, one)
    assert (window.snippet, window.end) == (Snippet("", "Oh! Yes."), 9)
    anything = SnippetRules(prompt_sentences=False)
    assert window_at(TEXT, 0, anything).snippet == window_at(TEXT, 0, PAPER).snippet


def test_steps():
    assert [nth_stop("a. b. c", 0, n) for n in range(4)] == [0, 2, 5, None]
    assert sentence_after('a.") b', 2) == 5
    assert sentence_after("a.--b", 2) == 4
    assert sentence_after("a.", 2) == 2


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from(["He ran", "Mr", "3", "5", '"Oh', ".", ". ", '." ', "...", "\n\n", " ", "cat sat on the mat"])
    )
)
def test_windows_meet_the_paper_s_shape_and_never_overlap(parts):
    text = "".join(parts).strip()
    start = 0
    while window := window_at(text, start, PAPER):
        codes = {refusal.code for refusal in refusals(window.snippet, PAPER)}
        assert codes <= {"few_letters", "too_long"}
        assert window.start == start < window.end <= len(text)
        start = window.end
