import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.evaluation.marking import Span, marked, mostly_changed, visible

SAME, DELETED, INSERTED = "same", "deleted", "inserted"


@pytest.mark.parametrize(
    ("before", "after", "spans"),
    [
        ("a b", "a b", [(SAME, "a b")]),
        ("", "", []),
        ("", "new", [(INSERTED, "new")]),
        ("old", "", [(DELETED, "old")]),
        ("He fell hard.", "He tripped hard.", [
            (SAME, "He "), (DELETED, "fell"), (INSERTED, "tripped"), (SAME, " hard.")]),
        ("The big dog ran.", "The small cat ran.", [
            (SAME, "The "), (DELETED, "big dog"), (INSERTED, "small cat"), (SAME, " ran.")]),
        ("He fell down.", "He fell right down.", [(SAME, "He fell "), (INSERTED, "right "), (SAME, "down.")]),
        ("It wasn't broken, was it?", "It was broken; was it?", [
            (SAME, "It "), (DELETED, "wasn't"), (INSERTED, "was"), (SAME, " broken"), (DELETED, ","), (INSERTED, ";"),
            (SAME, " was it?")]),
        ("Он упал.", "Он встал.", [(SAME, "Он "), (DELETED, "упал"), (INSERTED, "встал"), (SAME, ".")]),
    ],
)  # fmt: skip
def test_marks_by_hand(before, after, spans):
    assert marked(before, after) == [Span(*span) for span in spans]


WORDY = st.lists(
    st.sampled_from(["a", "b", "it's", "x-y", " ", "  ", "\n", ".", "é", "\u202e", "👩‍🔬"]), max_size=30
).map("".join)


@settings(deadline=None, max_examples=300)
@given(WORDY | st.text(max_size=40), WORDY | st.text(max_size=40))
def test_spans_give_both_texts_back(before, after):
    spans = marked(before, after)
    assert "".join(span.text for span in spans if span.kind != INSERTED) == before
    assert "".join(span.text for span in spans if span.kind != DELETED) == after
    assert all(span.text for span in spans)
    assert all(one.kind != other.kind for one, other in pairwise(spans))


def test_more_than_half_changed():
    assert not mostly_changed(marked("one two three four", "one two five six"))
    assert mostly_changed(marked("one two three four", "one five six seven"))
    assert not mostly_changed(marked("same", "same"))
    assert not mostly_changed([])


def test_what_hides_is_shown():
    assert visible("left\u202eright\u2066x\u200by\x00z\xad") == "left[U+202E]right[U+2066]x[U+200B]y[U+0000]z[U+00AD]"
    plain = "line\n\u05d0\u05d1\u05d2 \U0001f469\u200d\U0001f52c \u0646\u0645\u06cc\u200c\u062e"
    assert visible(plain) == plain


def test_long_texts_take_no_time():
    """Space is no anchor: else each of the 500 changes would be looked for among all pairs of spaces."""
    words = [f"w{i}" for i in range(1500)]
    start = time.perf_counter()
    spans = marked(" ".join(words), " ".join("new" if i % 3 == 1 else word for i, word in enumerate(words)))
    assert time.perf_counter() - start < 5
    assert sum(span.kind == INSERTED for span in spans) == 500


def test_a_word_again_and_again_takes_no_time():
    """difflib alone takes minutes."""
    many, more = "no " * 2000 + "end", "never " + "no " * 2100 + "stop"
    start = time.perf_counter()
    spans = marked(many, more)
    assert time.perf_counter() - start < 2
    assert spans == [Span(DELETED, many), Span(INSERTED, more)]
    assert marked(many, many[:-3] + "stop")[1:] == [Span(DELETED, "end"), Span(INSERTED, "stop")]
