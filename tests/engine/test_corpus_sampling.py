import json
import socket
import tracemalloc
from dataclasses import asdict

import numpy as np
import pytest

from engine.corpus import Story, Tally, sample_snippets
from engine.corpus.language import language_of
from engine.policies import Policy, WordRule
from engine.snippets import Snippet, SnippetRules, refusals

VOCABULARY = """
the a old young dark little river forest garden house mother brother horse window letter morning winter bread walked
waited listened remembered carried opened slowly softly again together behind under through with and but because every
nobody somebody already perhaps without towards kitchen market soldier teacher doctor candle
"""
WORDS = VOCABULARY.split()
POLICY = Policy(name="test", question="?", enrichment=(WordRule(any_of=("candle",)),))


def story(name, sentences=200, seed=0):
    rng = np.random.default_rng([seed, *name.encode()])
    text = (" ".join(rng.choice(WORDS, 12)).capitalize() + "." for _ in range(sentences))
    return Story(name, "\n\n".join(" ".join(part) for part in zip(*[text] * 5, strict=True)))


def draw(*stories, policy=POLICY, seed=0, **settings):
    tally = Tally()
    found = list(sample_snippets(stories, policy, seed=seed, tally=tally, **settings))
    assert tally.windows == tally.kept + tally.not_sampled + sum(tally.refused.values())
    assert tally.kept == len(found)
    assert tally.stories == len(stories)
    return found, tally


def test_all_snippets_of_a_story_are_valid_and_share_no_sentence():
    text = story("a")
    found, tally = draw(text)
    assert tally.windows == 49  # 200 sentences from a random one of the first four on, four by four.
    assert tally.kept == 49
    assert all(refusals(item.snippet, POLICY.snippet_rules) == [] for item in found)
    sentences = [s.strip() for item in found for s in item.snippet.text.split(".") if s.strip()]
    assert len(sentences) == len(set(sentences)) == 4 * 49


def test_a_snippet_says_where_it_comes_from():
    text = story("a")
    for item in draw(text)[0]:
        assert item.story == "a"
        assert text.text[item.position :].startswith(item.snippet.prompt)
        assert item.enriched == ("candle" in item.snippet.completion.lower())
    assert 0 < draw(text)[1].enriched < 49


def test_the_same_seed_draws_the_same_and_another_one_not():
    stories = [story("a"), story("b")]
    assert draw(*stories, share=0.5) == draw(*stories, share=0.5)
    assert draw(*stories, share=0.5)[0] != draw(*stories, share=0.5, seed=1)[0]


def test_what_is_sampled_of_a_story_does_not_depend_on_the_others():
    alone = draw(story("b"), share=0.3)[0]
    assert [item for item in draw(story("a"), story("b"), story("c"), share=0.3)[0] if item.story == "b"] == alone


def test_share():
    tallies = [draw(story("a", 2000), share=0.25, seed=seed)[1] for seed in range(4)]
    windows = sum(tally.windows for tally in tallies)
    # Four standard errors of a binomial count.
    assert abs(sum(tally.kept for tally in tallies) - windows / 4) < 4 * (windows * 0.25 * 0.75) ** 0.5
    assert tallies[0].not_sampled == tallies[0].windows - tallies[0].kept


def test_per_story_takes_as_many_of_each():
    found, _ = draw(story("a", 400), story("b", 100), story("c", 15), per_story=7)
    assert [sum(item.story == name for item in found) for name in "abc"] == [7, 7, 3]
    assert [item.position for item in found[:7]] == sorted(item.position for item in found[:7])


def test_limit_is_an_even_draw_from_all_in_the_order_of_the_text():
    stories = [story("a", 1200), story("b", 400)]
    everything = draw(*stories)[0]
    found, tally = draw(*stories, limit=100)
    assert len(found) == 100
    places = [everything.index(item) for item in found]
    assert places == sorted(places)
    # Expected 75; four standard errors of a hypergeometric count.
    assert abs(sum(item.story == "a" for item in found) - 75) < 15
    assert tally.not_sampled == tally.windows - 100
    assert set(draw(*stories, limit=40)[0]) < set(found)


def test_limit_and_per_story_together():
    found, _ = draw(story("a", 800), story("b", 200), limit=10, per_story=6)
    assert len(found) == 10
    assert all(sum(item.story == name for item in found) <= 6 for name in "ab")


def test_a_limit_beyond_the_corpus_draws_all():
    assert draw(story("a"), limit=1000)[0] == draw(story("a"))[0]


def test_only_enriched():
    everything = draw(story("a", 2000))[0]
    found, tally = draw(story("a", 2000), only_enriched=True)
    assert found == [item for item in everything if item.enriched]
    assert tally.refused["not_enriched"] == len(everything) - len(found)


def test_repeats_are_refused_across_stories():
    copy = Story("copy", story("a").text.replace("\n\n", "\n\n\n"))
    found, tally = draw(story("a"), copy)
    assert [item.story for item in found] == ["a"] * 49
    assert tally.refused == {"near_duplicate": 49}
    assert draw(story("a"), copy, similarity=None)[1].kept == 98


GERMAN = "Der alte Mann ging langsam durch den dunklen Wald nach Hause. " * 4 + "Seine Mutter wartete schon lange. " * 4


def test_other_languages_are_refused():
    assert draw(Story("de", GERMAN))[1].refused["language"] >= 1
    free = POLICY.model_copy(update={"snippet_rules": SnippetRules(language=False)})
    assert draw(Story("de", GERMAN), policy=free)[1].refused == {}


def test_the_language_model_is_at_hand(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("no network is needed")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    texts = ["He walked home through the wood.\nIt rained.", "Il pleuvait sur la ville endormie.", GERMAN]
    assert [language_of(text) for text in texts] == ["en", "fr", "de"]


def test_refusals_by_reason():
    long = "It was a very " + "very " * 300 + "long day. Two men came. Three went. Four stayed at home with us."
    numbers = "1. 2. 3. 4 5 6 7 8 9 10 11 12 13 14."
    inside = "One man came home. Two men came home. It cost us 3.5 pounds to go there."
    tally = draw(Story("a", long), Story("b", numbers), Story("c", inside))[1]
    assert tally.refused == {"too_long": 1, "few_letters": 1, "inside_word": 1}


def test_tokens_are_counted_by_the_caller():
    def words(snippet: Snippet) -> int:
        return 300 if "candle" in snippet.text.lower() else 10

    found, tally = draw(story("a"), count_tokens=words)
    assert tally.refused["too_many_tokens"] == 49 - len(found) > 0


def test_stories_without_windows():
    assert draw(Story("a", ""), Story("b", "One. Two."), Story("c", "* * *"))[1].windows == 0
    assert draw()[0] == []


def test_progress_ends_at_all_characters():
    stories, told = [story("a", 4000), story("b")], []
    total = sum(len(item.text) for item in stories)
    draw(*stories, total_chars=total, progress=lambda done, of: told.append((done, of)))
    assert told[-1] == (total, total)
    assert {of for _, of in told} == {total}
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert len(told) > 10


def test_progress_may_stop_the_work():
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        draw(story("a"), progress=stop)


@pytest.mark.parametrize("settings", [{"share": 0}, {"share": 1.1}, {"limit": 0}, {"per_story": -1}, {"similarity": 0}])
def test_settings_are_checked_before_anything_is_read(settings):
    with pytest.raises(ValueError):
        sample_snippets(iter(()), POLICY, seed=0, **settings)


def peak(stories, **settings):
    names = (str(number) for number in range(stories))
    tracemalloc.start()
    for _ in sample_snippets((story(name) for name in names), POLICY, seed=0, **settings):
        pass
    memory = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return memory


def test_memory_does_not_grow_with_the_corpus():
    draw(story("a"))  # Loads the language model first.
    few, many = peak(4, limit=20), peak(34, limit=20)
    assert many < few + 50_000  # 30 more stories are 400 kB of text.
    few, many = peak(3), peak(18)
    assert many < few + 50_000


def test_a_tally_can_be_kept_as_json():
    _, tally = draw(story("a"), story("a"))
    assert json.loads(json.dumps(asdict(tally))) == {
        "stories": 2,
        "windows": 98,
        "not_sampled": 0,
        "kept": 49,
        "enriched": tally.enriched,
        "refused": {"near_duplicate": 49},
    }
