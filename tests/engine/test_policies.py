from collections import Counter

import pytest

from engine.errors import BadInput, UnknownName
from engine.policies import BUILT_IN, load_policy, policy_from_dict
from engine.snippets import Snippet, refusals

SMALL = {"name": "rude", "question": "Is it rude?"}


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_policies_load(name):
    policy = load_policy(name)
    assert policy.name == name
    assert (policy.failure, policy.harmless) == ("Yes", "No")


def test_the_first_policy_follows_the_paper():
    rules = load_policy("injury").snippet_rules
    assert (rules.prompt_sentences, rules.completion_min_chars, rules.max_chars, rules.max_tokens) == (3, 16, 1200, 256)
    assert (rules.min_letters, rules.language) == (8, "en")


def test_the_first_policys_gold_is_valid_covers_each_choice_and_says_why():
    policy = load_policy("injury")
    texts = [Snippet(one.prompt, one.completion) for one in policy.gold]
    assert [refusals(text, policy.snippet_rules) for text in texts] == [[]] * 12
    assert len({text.content_hash for text in texts}) == 12
    assert Counter(one.choice for one in policy.gold) == {"Yes": 5, "No": 5, "Unsure": 2}
    assert all(one.explanation for one in policy.gold)
    assert (policy.quality.qualification, policy.quality.gold_rate, policy.quality.feedback) == (10, 0.05, True)


def test_a_policy_without_prompts():
    rules = load_policy("toxic").snippet_rules
    assert rules.prompt_sentences == 0
    assert (rules.completion_min_chars, rules.max_chars, rules.max_tokens, rules.language) == (None,) * 4


def test_unsure_trains_as_positive():
    policy = policy_from_dict(SMALL)
    assert [policy.trains_as_positive(choice) for choice in policy.choices] == [True, True, False]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"question": ""}, "question: must not be empty"),
        ({"name": "Very Rude"}, "name: must fit the pattern ^[a-z][a-z0-9_-]{0,63}$"),
        (
            {"choices": ["Yes"]},
            "choices: a policy needs at least two choices, the most severe first, and has 1: the first means failure, "
            "the last none",
        ),
        (
            {"choices": []},
            "choices: a policy needs at least two choices, the most severe first, and has 0: the first means failure, "
            "the last none",
        ),
        ({"choices": ["Yes", "No", "yes "]}, "choices: each must be there once; 'yes ' is there again"),
        ({"choices": ["Yes", " "]}, "choices: each must have 1 to 64 characters"),
        ({"choices": ["Yes", "N" * 65]}, "choices: each must have 1 to 64 characters"),
        ({"choices": "Yes"}, "choices: must be a list"),
        (
            {"colour": "red"},
            "colour: there is no such field; known: aggregation, blind, choices, comparison, depth, enrichment, "
            "gold, guidelines, name, quality, question, simulation, snippet_rules",
        ),
        ({"snippet_rules": {"max_chars": 0}}, "snippet_rules.max_chars: must be at least 1"),
        ({"snippet_rules": 3}, "snippet_rules: must be a table of fields"),
        ({"enrichment": [{"any_of": []}]}, "enrichment.0.any_of: must not be empty"),
        (
            {"simulation": {"lexicon": [{"any_of": ["x"], "noneof": ["y"]}]}},
            "simulation.lexicon.0.noneof: there is no such field; known: any_of, beside, none_of",
        ),
    ],
)
def test_each_wrong_field_is_named(change, message):
    with pytest.raises(BadInput) as refused:
        policy_from_dict(SMALL | change, where="rude.toml")
    assert str(refused.value) == f"rude.toml: {message}"
    assert refused.value.where == "rude.toml"


def test_choices_have_any_names_and_their_order_says_what_they_mean():
    policy = policy_from_dict(SMALL | {"choices": ["harmful", "borderline", "odd", "fine"]})
    assert (policy.failure, policy.harmless) == ("harmful", "fine")
    assert [policy.trains_as_positive(choice) for choice in policy.choices] == [True, True, True, False]


def test_all_wrong_fields_are_named_at_once():
    with pytest.raises(BadInput, match=r"^policy: name: .*; question: is required$"):
        policy_from_dict({"name": "?"})


def test_a_policy_from_a_file(tmp_path):
    path = tmp_path / "rude.toml"
    path.write_text('name = "rude"\nquestion = "Is it rude?"\n[snippet_rules]\nmax_tokens = false\n')
    policy = load_policy(path)
    assert policy.name == "rude"
    assert policy.snippet_rules.max_tokens is None


def test_an_unknown_policy_names_those_known():
    with pytest.raises(UnknownName, match="unknown policy 'nope'; known: hateful, injury, toxic"):
        load_policy("nope")


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "No such file or directory"), (b"name = ", "not a TOML file"), (b"\xff\xfe", "not a TOML file")],
)
def test_a_bad_file_is_named(tmp_path, content, message):
    path = tmp_path / "rude.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadInput, match=message) as refused:
        load_policy(path)
    assert refused.value.where == str(path)
