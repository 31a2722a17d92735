import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.snippets import Refusal, Snippet, SnippetRules, cut_completion, refusals, split_of

PROMPT = "It rained. Anna ran home. The door was open."
COMPLETION = "Inside sat a large grey cat."
PAPER = SnippetRules()
OFF = SnippetRules(
    prompt_sentences=False, completion_min_chars=False, max_chars=False, max_tokens=False, min_letters=False
)


def test_content_hash_is_the_same_on_every_machine():
    snippet = Snippet("A b. C d. E f.", "He waved at the old dog.")
    assert snippet.content_hash == "1fcd339b8acd873cec22b5f0ea10b6a4de6eeb17ee7a622498b6e5edc666b90c"


def test_content_hash_ignores_white_space_and_unicode_form_alone():
    plain = Snippet("Caf\u00e9 was shut.", "We left.")
    assert Snippet("  Cafe\u0301\n\nwas  shut. ", "We\tleft.\n").content_hash == plain.content_hash
    assert Snippet("cafe was shut.", "We left.").content_hash != plain.content_hash
    assert Snippet("Caf\u00e9 was shut. We", "left.").content_hash != plain.content_hash


def test_content_hash_of_half_a_surrogate_pair():
    assert len(Snippet("a\ud800", "b").content_hash) == 64
    assert refusals(Snippet("a\ud800", "b"), OFF) == [
        Refusal("lone_surrogate", "contains half of a surrogate pair, which is no character")
    ]


def test_text_reads_on():
    assert Snippet("One.", "Two.").text == "One. Two."
    assert Snippet("", "Two.").text == "Two."


def test_valid_by_the_paper():
    assert refusals(Snippet(PROMPT, COMPLETION), PAPER) == []
    assert refusals(Snippet(PROMPT, "Mr. Gray and Mrs."), PAPER) == []


@pytest.mark.parametrize(
    ("prompt", "completion", "expected"),
    [
        ("It rained. She ran.", COMPLETION, ("prompt_sentences", "prompt has 2 full stops, exactly 3 are wanted")),
        (PROMPT + " Oh.", COMPLETION, ("prompt_sentences", "prompt has 4 full stops, exactly 3 are wanted")),
        (PROMPT + '"', COMPLETION, ("prompt_tail", "prompt has text after its last full stop")),
        (PROMPT, " ", ("empty_completion", "completion is empty")),
        (PROMPT, "A grey cat sat.", ("short_completion", "completion has 15 characters, more than 16 are wanted")),
        (PROMPT, "A grey cat sat..", ("short_completion", "completion has 16 characters, more than 16 are wanted")),
        (
            PROMPT,
            COMPLETION + '"',
            ("completion_stop", "completion must end at its first full stop after 16 characters"),
        ),
        (PROMPT, "A large grey cat sat there", ("completion_stop",)),
        (PROMPT, "A large grey cat sat. It purred.", ("completion_stop",)),
        (PROMPT, "a" * 1200 + ".", ("too_long", "1246 characters, at most 1200")),
        ("1. 2. 3 abcdefg.", COMPLETION, ("few_letters", "7 letters, at least 8 are wanted")),
        (PROMPT, "A large\x00 grey cat sat.", ("null_byte", "contains a null byte")),
    ],
)
def test_one_reason(prompt, completion, expected):
    found = refusals(Snippet(prompt, completion), PAPER)
    assert [refusal.code for refusal in found] == [expected[0]]
    assert found[0].detail == (expected[1] if len(expected) > 1 else found[0].detail)


def test_all_reasons_are_listed_and_each_can_be_switched_off():
    bad = Snippet("\x00", "x" * 1300)
    codes = ["null_byte", "prompt_sentences", "completion_stop", "too_long", "few_letters"]
    assert [refusal.code for refusal in refusals(bad, PAPER)] == codes
    assert [refusal.code for refusal in refusals(bad, OFF)] == ["null_byte"]


def test_letters_are_counted_in_the_completion_where_no_prompt_is_wanted():
    rules = SnippetRules(prompt_sentences=0)
    assert refusals(Snippet("", COMPLETION), rules) == []
    assert [r.code for r in refusals(Snippet("", "12345 67890 12345 abc."), rules)] == ["few_letters"]
    assert [r.code for r in refusals(Snippet("A.", COMPLETION), rules)] == ["prompt_sentences"]


def test_tokens_are_counted_last_and_only_when_nothing_else_refuses():
    asked = []

    def count(snippet):
        asked.append(snippet)
        return 257

    good = Snippet(PROMPT, COMPLETION)
    assert refusals(good, PAPER, count_tokens=count) == [Refusal("too_many_tokens", "257 tokens, at most 256")]
    assert refusals(good, PAPER, count_tokens=lambda _: 256) == []
    assert len(refusals(Snippet("", COMPLETION), PAPER, count_tokens=count)) == 2
    assert asked == [good]


@pytest.mark.parametrize(
    ("raw", "cut"),
    [
        ("He waved at the old dog. It barked. ", "He waved at the old dog."),
        ("Mr. Gray waved at the\n dog. It barked.", "Mr. Gray waved at the dog."),
        ("He said no. Then he left. Gone", "He said no. Then he left."),
        ("abcdefghijklmnop. And on.", "abcdefghijklmnop."),
        ("abcdefghijklmno. And on.", "abcdefghijklmno. And on."),
        ("He waved at the old dog", "He waved at the old dog."),
        ("No..", "No."),
        ("", ""),
        (" \n", ""),
    ],
)
def test_cut_completion(raw, cut):
    assert cut_completion(raw, PAPER) == cut


def test_cut_completion_with_the_rule_off_keeps_all():
    assert cut_completion(" One.  Two. Three", OFF) == "One. Two. Three"


some_text = st.text(st.sampled_from("ab. \n\"'.!?Zé"), max_size=60)


@settings(deadline=None)
@given(some_text, st.integers(0, 20))
def test_a_cut_completion_breaks_no_rule_but_its_length(text, least):
    rules = SnippetRules(completion_min_chars=least)
    cut = cut_completion(text, rules)
    codes = {refusal.code for refusal in refusals(Snippet(PROMPT, cut), rules)}
    assert codes <= {"empty_completion", "short_completion"}
    assert cut_completion(cut, rules) == cut
    assert ("empty_completion" in codes) == (not text.strip())


@settings(deadline=None)
@given(st.text(max_size=40), st.text(max_size=40), st.sampled_from([" ", "\n", "\t \n"]))
def test_hash_sees_words_not_the_space_between(prompt, completion, space):
    spaced = Snippet(space + space.join(prompt.split()), space.join(completion.split()) + space)
    assert spaced.content_hash == Snippet(prompt, completion).content_hash


def test_split_is_a_function_of_the_root_hash():
    hashes = [hashlib.sha256(str(i).encode()).hexdigest() for i in range(20_000)]
    splits = [split_of(root) for root in hashes]
    assert splits == [split_of(root) for root in hashes]
    counts = [splits.count(name) for name in ("train", "validation", "test")]
    # Three standard errors of a binomial count of 20,000.
    assert abs(counts[0] - 12_000) < 208
    assert abs(counts[1] - 2_000) < 128
    assert abs(counts[2] - 6_000) < 195


def test_splits_pinned():
    assert [split_of(f"{i:064x}") for i in range(8)] == [
        *("train", "test", "train", "test", "train", "train", "train", "test"),
    ]


def test_split_shares():
    hashes = [f"{i:064x}" for i in range(200)]
    assert {split_of(root, (1, 0, 0)) for root in hashes} == {"train"}
    assert {split_of(root, (0, 1, 0)) for root in hashes} == {"validation"}
    assert {split_of(root, (0, 0, 1)) for root in hashes} == {"test"}
    # A larger share of training data only adds to it.
    few = {root for root in hashes if split_of(root, (0.5, 0.25, 0.25)) == "train"}
    many = {root for root in hashes if split_of(root, (0.6, 0.2, 0.2)) == "train"}
    assert few < many


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.5, 0.4, 0.2), (1.2, -0.1, -0.1)])
def test_shares_that_are_none(shares):
    with pytest.raises(ValueError, match="three non-negative numbers that sum to 1"):
        split_of("00", shares)


@pytest.mark.parametrize("field", ["max_chars", "max_tokens", "min_letters", "language", "prompt_sentences"])
def test_false_switches_a_rule_off(field):
    assert getattr(SnippetRules(**{field: False}), field) is None
