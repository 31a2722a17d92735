import re
from itertools import pairwise

import pytest

from engine.attacks.paraphrasers.clauses import REWORDINGS, reworded
from engine.attacks.paraphrasers.inflection import article_for, plural, verb_forms
from engine.attacks.paraphrasers.neighbours import fitting
from engine.attacks.paraphrasers.thesaurus import slots, with_article
from engine.attacks.paraphrasers.word_lists import lines, lists, text


def offers(passage, other=lambda word: ()):
    return {passage[s.start : s.end]: s.options for s in slots(passage, other)}


@pytest.mark.parametrize(
    ("base", "forms"),
    [
        ("walk", "walk walks walked walked walking"),
        ("stop", "stop stops stopped stopped stopping"),
        ("hurry", "hurry hurries hurried hurried hurrying"),
        ("seize", "seize seizes seized seized seizing"),
        ("flee", "flee flees fled fled fleeing"),
        ("die", "die dies died died dying"),
        ("push", "push pushes pushed pushed pushing"),
        ("go", "go goes went gone going"),
        ("occur", "occur occurs occurred occurred occurring"),
        ("show", "show shows showed showed showing"),
        ("open", "open opens opened opened opening"),
        ("weep", "weep weeps wept wept weeping"),
    ],
)
def test_verb_forms(base, forms):
    assert " ".join(verb_forms(base)) == forms


def test_plurals_and_articles():
    words = "fox lady knife day torch man"
    assert [plural(w) for w in words.split()] == ["foxes", "ladies", "knives", "days", "torches", "men"]
    sounds = "apple hour unicorn horse European umbrella one honest ewe"
    assert [article_for(w) for w in sounds.split()] == ["an", "an", "a", "a", "a", "an", "a", "an", "a"]


def test_words_are_replaced_in_their_inflection_and_kind():
    assert offers("The soldier grabbed his swords.") == {
        "soldier": ("warrior", "trooper"),
        "grabbed": ("seized", "snatched", "clutched"),
        "swords": ("blades", "rapiers"),
    }
    assert offers("He has broken his arm.") == {"broken": ("smashed", "snapped", "shattered")}
    assert offers("He had to stop.")["stop"] == ("halt", "pause")
    assert offers("The fight was over.") == {"fight": ("struggle", "brawl")}
    assert offers("They fight with us.")["fight"] == ("battle", "struggle")


def test_an_article_is_made_to_fit():
    assert offers("She saw a wound.")["a wound"] == ("an injury", "a gash")
    assert offers("An axe lay there.") == {"An axe": ("A hatchet",)}
    passage = "It was an ugly hat."
    (slot, *_) = [s for s in slots(passage, lambda word: ()) if "ugly" in passage[s.start : s.end]]
    assert with_article(passage, slot) == slot
    assert slot.options == ("a hideous", "an unsightly")


def test_words_keep_their_capital_and_names_are_left_alone():
    assert offers("Suddenly Stone fell.") == {"Suddenly": ("Abruptly",)}
    assert offers("Mr Castle was there.") == {}


def test_conditions_on_the_words_around_hold():
    assert "happened" not in offers("It happened that he left.")
    assert offers("It happened there.")["happened"] == ("occurred",)
    assert "little" not in offers("He ate but little.")
    assert "fell" not in offers("He fell asleep.")


def test_phrases_come_before_words_and_contractions_need_a_word_after():
    assert offers("He did not know it.")["did not know"] == ("had no idea",)
    assert offers("I am what I am.") == {"I am": ("I'm",)}
    assert offers("They will not go, will not!").keys() == {"will not"}
    assert [s.start for s in slots("They will not go, will not!", lambda word: ())] == [5]


def test_slots_do_not_overlap_and_point_into_the_text():
    passage = (
        "At once the old man got up, took hold of an axe and quickly ran to the dark house, for he was very angry."
    )
    found = slots(passage, fitting(passage))
    assert len(found) >= 6
    assert all(a.end <= b.start for a, b in pairwise(found))
    assert all(passage[s.start : s.end] not in s.options and s.options for s in found)


def test_the_thesaurus_is_well_formed():
    for key in ("verbs", "nouns", "adjectives", "adverbs", "function_words"):
        for line in lines(key):
            group, *conditions = (part.strip() for part in line.split("|"))
            head, *others = group.split()
            assert others, line
            assert head not in others, line
            assert len(set(others)) == len(others), line
            assert all(condition[0] in "+-<" for condition in conditions), line
            assert re.fullmatch("[a-z_ -]+", group), line
    assert all(phrase not in options for phrase, options in lists("phrases").items())
    assert not any("." in option for options in lists("phrases").values() for option in options)
    assert len(text("opposed").split()) == len(set(text("opposed").split()))


def test_neighbours_keep_inflection_and_leave_out_stems_opposites_and_numbers():
    near = fitting("The inmate giggled. The pistol lay on the floor.")
    assert "chuckled" in near("giggled")
    assert "handgun" in near("pistol")
    for word in ("husband", "twelve", "eldest", "xyzzy", "the", "of", "wore"):
        assert near(word) == ()


@pytest.mark.parametrize(
    ("sentence", "turned"),
    [
        ("After the rain stopped, they went home.", "They went home after the rain stopped."),
        ("When John came home, he ate.", "John ate when he came home."),
        ("They went home after it stopped.", "After it stopped, they went home."),
        ("John ate when he came home.", "When John came home, he ate."),
        ("Taking the sword, he left.", "He left, taking the sword."),
        ("In the morning, he left.", "He left in the morning."),
        ("He suddenly stood up.", "Suddenly he stood up."),
        ("Suddenly he stood up.", "He suddenly stood up."),
        ("There was a king who had a son.", "A king had a son."),
        ('"Come," said John.', '"Come," John said.'),
        ('"Come," the king said.', '"Come," said the king.'),
        ("He ran, but he fell.", "He ran, yet he fell."),
        ("He ran; but he fell.", "He ran, but he fell."),
        ("He hid, for he was afraid.", "He hid, because he was afraid."),
    ],
)
def test_sentences_are_turned(sentence, turned):
    assert turned in reworded(sentence)


@pytest.mark.parametrize(
    "sentence",
    [
        "He came the day after they left.",
        "He knew that when he came they would go.",
        "He longed for bread, for wine, and for cheese.",
        "They took bread, and wine, and cheese.",
        "It was so late, so cold.",
        "",
        "Mr.",
    ],
)
def test_sentences_that_would_break_are_not_turned(sentence):
    assert reworded(sentence) == []


def test_no_rewording_adds_a_full_stop_or_gives_back_the_same():
    told = [
        "After he left, she wept.",
        'She said, "No, I will not," said Tom.',
        "He ran, and then he fell; but it held.",
    ]
    for sentence in told:
        for rule in REWORDINGS:
            new = rule(sentence)
            assert new is None or (new != sentence and new.count(".") == sentence.count("."))
