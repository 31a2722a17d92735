import json

import numpy as np
import pytest

from engine.errors import BadInput, GeneratorError
from engine.generation.nearest import NearestContinuations, NearestSettings
from engine.snippets import Snippet, SnippetRules

RULES = SnippetRules()
THEMES = {
    "sea": "The ship sailed over the sea. The waves were high. A sailor stood on deck{}.",
    "wood": "The forest was dark and deep. Old trees stood close. A fox ran by{}.",
    "town": "The market square was full of people. A merchant sold apples. Bells rang{}.",
}


def snippets(each=12):
    return [
        Snippet(text.format(f" number {i}"), f"The {theme} was there in sight of {i}.")
        for theme, text in THEMES.items()
        for i in range(each)
    ]


@pytest.fixture(scope="module")
def fitted():
    return NearestContinuations.fit(snippets(), RULES, settings=NearestSettings(neighbours=10))


def test_completions_come_from_similar_contexts(fitted):
    prompt = "A ship sailed across the sea. The waves were rough. The sailor slept on deck."
    (texts,) = fitted.complete([prompt], 50, seed=1)
    assert len(texts) == 50
    assert {text.split()[1] for text in texts} == {"sea"}
    assert len(set(texts)) > 5


def test_the_snippet_itself_and_what_the_prompt_holds_are_left_out(fitted):
    own = snippets()[3]
    (texts,) = fitted.complete([own.prompt], 200, seed=1)
    assert own.completion not in texts
    (texts,) = fitted.complete(
        [f"{snippets()[0].completion} The waves were high. A sailor stood on deck."], 200, seed=1
    )
    assert snippets()[0].completion not in texts


def test_draws_follow_seed_and_prompt_alone(fitted):
    prompts = [s.prompt for s in snippets()]
    one = fitted.complete(prompts, 5, seed=1)
    assert fitted.complete(prompts, 5, seed=1) == one
    assert fitted.complete(prompts[7:9], 5, seed=1) == one[7:9]
    assert fitted.complete(prompts, 5, seed=2) != one
    twice = fitted.complete([prompts[0], prompts[0]], 20, seed=1)
    assert twice[0] != twice[1]


def test_draws_are_with_replacement_and_near_uniform_when_hot():
    hot = NearestSettings(neighbours=4, temperature=1e6)
    generator = NearestContinuations.fit(snippets(4), RULES, settings=hot)
    (texts,) = generator.complete(["The sea and the ship. The waves. The sailor stood on deck."], 4000, seed=5)
    counts = np.array([texts.count(text) for text in sorted(set(texts))])
    assert counts.size == 4
    # Four standard deviations of a binomial with p = 1/4.
    assert np.all(np.abs(counts - 1000) < 4 * np.sqrt(4000 * 0.25 * 0.75))


def test_names_are_made_to_fit():
    told = [
        Snippet(f"Tom went to the river. It was cold. Tom fished all day {i}.", "Then Tom was bitten by a pike.")
        for i in range(3)
    ]
    generator = NearestContinuations.fit(told, RULES)
    (texts,) = generator.complete(["Peter went to the river. It was cold. Peter fished."], 2, seed=1)
    assert texts == ["Then Peter was bitten by a pike."] * 2
    plain = NearestContinuations.fit(told, RULES, settings=NearestSettings(graft_names=False))
    assert plain.complete(["Peter went to the river."], 1, seed=1) == [["Then Tom was bitten by a pike."]]


def test_completions_are_cut_and_half_sentences_are_not_learned():
    told = [
        Snippet("A b. C d. E f.", "It was a long long way. And more."),
        Snippet("G h. I j. K l.", "There came a certain Mr."),
        Snippet("G h. I j. So did Dr.", "Livesey come in after all."),
    ]
    generator = NearestContinuations.fit(told, RULES)
    assert [s.completion for s in generator.snippets] == ["It was a long long way."]


def test_a_saved_copy_answers_the_same(fitted, tmp_path):
    prompts = [s.prompt for s in snippets()]
    fitted.save(tmp_path / "one")
    fitted.save(tmp_path / "one")
    copy = NearestContinuations.load(tmp_path / "one")
    assert copy.complete(prompts, 7, seed=3) == fitted.complete(prompts, 7, seed=3)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["config.json", "one", "snippets.jsonl", "vectors.npy"]


@pytest.mark.parametrize("broken", ["config.json", "snippets.jsonl", "vectors.npy"])
def test_a_folder_that_is_not_whole_is_named(fitted, tmp_path, broken):
    fitted.save(tmp_path / "one")
    (tmp_path / "one" / broken).write_text("{")
    with pytest.raises(BadInput, match="one: not a fitted"):
        NearestContinuations.load(tmp_path / "one")


def test_pickled_vectors_are_refused(fitted, tmp_path):
    fitted.save(tmp_path / "one")
    np.save(tmp_path / "one" / "vectors.npy", np.array([{"a": 1}] * 36, dtype=object), allow_pickle=True)
    with pytest.raises(BadInput, match="one: not a fitted"):
        NearestContinuations.load(tmp_path / "one")


def test_vectors_that_do_not_fit_are_refused(fitted, tmp_path):
    fitted.save(tmp_path / "one")
    lines = (tmp_path / "one" / "snippets.jsonl").read_text().splitlines()
    (tmp_path / "one" / "snippets.jsonl").write_text("\n".join(lines[1:]))
    assert json.loads(lines[0])["completion"] == "The sea was there in sight of 0."
    with pytest.raises(BadInput, match="does not fit 35 snippets"):
        NearestContinuations.load(tmp_path / "one")


def test_nothing_to_learn_from_and_nothing_to_draw_from():
    with pytest.raises(GeneratorError, match="no snippet"):
        NearestContinuations.fit([Snippet("A b. C d. E f.", "")], RULES)
    single = NearestContinuations.fit([Snippet("A b. C d. E f.", "It was a long long way.")], RULES)
    with pytest.raises(GeneratorError, match="no other context"):
        single.complete(["A b. C d. E f."], 3, seed=1)
    assert single.complete(["A b. C d. E f.", "Other words here."], 1, seed=1) == [[""], ["It was a long long way."]]


def test_progress_counts_prompts(fitted):
    told = []
    fitted.complete([s.prompt for s in snippets()] * 4, 1, seed=1, progress=lambda d, t: told.append((d, t)))
    assert told == [(64, 144), (128, 144), (144, 144)]
    assert fitted.complete([], 3, seed=1) == []
