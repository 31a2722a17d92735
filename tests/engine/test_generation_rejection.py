import math

import numpy as np
import pytest

from engine.errors import BadInput
from engine.generation import (
    Filter,
    Sampled,
    accepts,
    logit_cutoff,
    rejection_sample,
    rejection_stream,
    shared_sample,
)
from engine.progress import silent
from engine.snippets import Snippet


class Counting:
    """Draw number i of a prompt is "prompt i", whatever the rounds."""

    def __init__(self, text=lambda prompt, i: f"{prompt} {i}"):
        self.text = text
        self.drawn = {}
        self.calls = []

    def complete(self, prompts, n, *, seed, progress=silent):
        self.calls.append((list(prompts), n, seed))
        rows = []
        for prompt in prompts:
            start = self.drawn.get(prompt, 0)
            self.drawn[prompt] = start + n
            rows.append([self.text(prompt, start + i) for i in range(n)])
        return rows


class ByCompletion:
    def __init__(self, logit):
        self.logit = logit
        self.batches = []

    def logits(self, snippets, *, progress=silent):
        self.batches.append(list(snippets))
        return np.array([self.logit(s) for s in snippets], dtype=np.float32)

    def count_tokens(self, snippet):
        return 1


def number(snippet):
    return int(snippet.completion.split()[1])


def test_the_first_accepted_draw_is_the_answer():
    accepts = {"a": {0, 1}, "b": {2, 1}, "c": {13, 12, 40}, "d": {99}, "e": set()}
    classifier = ByCompletion(lambda s: -1.0 if number(s) in accepts[s.prompt] else 1.0)
    generator = Counting()
    found = rejection_sample(list(accepts), generator, classifier, 0.5, seed=1)
    assert found[:4] == [
        Sampled("a 0", 1, -1.0),
        Sampled("b 1", 2, -1.0, (1.0,)),
        Sampled("c 12", 13, -1.0, (1.0,) * 12),
        Sampled("d 99", 100, -1.0, (1.0,) * 99),
    ]
    assert found[4].rejected == (1.0,) * 100
    assert (found[4].completion, found[4].draws) == (None, 100)
    assert math.isnan(found[4].logit)
    assert [n for _, n, _ in generator.calls] == [1, 2, 4, 8, 16, 32, 37]
    assert [prompts for prompts, _, _ in generator.calls][:2] == [["a", "b", "c", "d", "e"], ["b", "c", "d", "e"]]
    assert len({seed for _, _, seed in generator.calls}) == 7


def test_one_classifier_call_a_round_and_no_snippet_twice_in_it():
    classifier = ByCompletion(lambda s: 1.0)
    rejection_sample(["a", "b"], Counting(lambda prompt, i: "same"), classifier, 0.5, seed=1, max_draws=10)
    assert [len(batch) for batch in classifier.batches] == [2, 2, 2, 2]


def test_acceptance_is_strict_at_the_threshold_in_logit_space():
    cutoff = logit_cutoff(0.002)
    assert cutoff == np.float32(math.log(0.002 / 0.998))
    below = np.nextafter(cutoff, np.float32(-math.inf))
    at, under = ByCompletion(lambda s: cutoff), ByCompletion(lambda s: below)
    assert rejection_sample(["a"], Counting(), at, 0.002, seed=1, max_draws=3)[0].completion is None
    assert rejection_sample(["a"], Counting(), under, 0.002, seed=1, max_draws=3)[0] == Sampled("a 0", 1, float(below))


def test_threshold_zero_rejects_all_and_one_accepts_all_but_silence():
    classifier = ByCompletion(lambda s: 50.0)
    assert rejection_sample(["a"], Counting(), classifier, 0.0, seed=1, max_draws=4)[0].draws == 4
    assert rejection_sample(["a"], Counting(), classifier, 1.0, seed=1)[0].completion == "a 0"
    quiet = Counting(lambda prompt, i: "" if i < 2 else f"{prompt} {i}")
    found = rejection_sample(["a"], quiet, classifier, 1.0, seed=1)[0]
    assert found == Sampled("a 2", 3, 50.0, (math.inf, math.inf))


@pytest.mark.parametrize("threshold", [-0.1, 1.1, math.nan])
def test_a_threshold_outside_its_range_is_refused_before_any_draw(threshold):
    generator = Counting()
    with pytest.raises(BadInput, match="threshold: must be between 0 and 1"):
        rejection_sample(["a"], generator, ByCompletion(lambda s: 0.0), threshold, seed=1)
    assert generator.calls == []


def test_progress_counts_answers_and_no_prompts_is_no_work():
    told = []
    classifier = ByCompletion(lambda s: -1.0 if number(s) >= 1 else 1.0)
    rejection_sample(["a", "b"], Counting(), classifier, 0.5, seed=1, progress=lambda d, t: told.append((d, t)))
    assert told == [(0, 2), (2, 2)]
    assert rejection_sample([], Counting(), classifier, 0.5, seed=1) == []


def test_the_rate_of_acceptance_is_that_of_the_generator():
    class Fair:
        def complete(self, prompts, n, *, seed, progress=silent):
            rng = np.random.default_rng(seed)
            return [[f"x {v}" for v in rng.integers(0, 4, n)] for _ in prompts]

    classifier = ByCompletion(lambda s: -1.0 if number(s) == 0 else 1.0)
    found = rejection_sample([f"p{i}" for i in range(4000)], Fair(), classifier, 0.5, seed=3)
    draws = np.array([f.draws for f in found])
    # Geometric with p = 1/4: mean 4, standard deviation sqrt(12).
    assert abs(draws.mean() - 4) < 4 * math.sqrt(12 / 4000)


def test_its_decisions_are_the_classifiers_own_on_the_same_texts():
    class Noisy:
        def complete(self, prompts, n, *, seed, progress=silent):
            rng = np.random.default_rng(seed)
            return [[f"x {v}" if v % 7 else "" for v in rng.integers(0, 2000, n)] for _ in prompts]

    class Recording(Noisy):
        def __init__(self):
            self.drawn = {}

        def complete(self, prompts, n, *, seed, progress=silent):
            rows = super().complete(prompts, n, seed=seed)
            for prompt, row in zip(prompts, rows, strict=True):
                self.drawn.setdefault(prompt, []).extend(row)
            return rows

    threshold = 0.0017
    classifier = ByCompletion(lambda s: -6.4 + (number(s) - 60) / 100)  # about one in seventy is accepted
    generator = Recording()
    prompts = [f"p{i}" for i in range(60)]
    found = rejection_sample(prompts, generator, classifier, threshold, seed=5)
    assert {one.completion is None for one in found} == {True, False}
    for prompt, one in zip(prompts, found, strict=True):
        drawn = generator.drawn[prompt][: one.draws]
        said = [bool(text) and float(classifier.logits([Snippet(prompt, text)])[0]) < logit_cutoff(threshold)
                for text in drawn]  # fmt: skip
        assert said == [False] * (len(drawn) - 1) + [one.completion is not None]
        assert len(one.rejected) == one.draws - (one.completion is not None)
        if one.completion is not None:
            assert one.completion == drawn[-1]
            assert accepts(one.logit, threshold)


def test_what_is_accepted_is_strictly_below_and_never_no_number():
    cutoff = logit_cutoff(0.3)
    logits = [cutoff, np.nextafter(cutoff, np.float32(-9)), math.nan, math.inf, -math.inf]
    assert accepts(logits, 0.3).tolist() == [False, True, False, False, True]
    assert accepts(-50.0, 0.0).tolist() is False
    assert accepts([], 0.3).shape == (0,)
    with pytest.raises(BadInput, match="threshold"):
        accepts([0.0], math.nan)


class Hashed:
    """Draws that follow from the seed and the prompt's place, so that a stream shows where it began."""

    def complete(self, prompts, n, *, seed, progress=silent):
        return [[f"x {v}" for v in np.random.default_rng([seed, i]).integers(0, 9, n)] for i in range(len(prompts))]


def test_a_stream_goes_on_from_any_lists_beginning_and_holds_no_more_than_a_list():
    classifier = ByCompletion(lambda s: -1.0 if number(s) == 0 else 1.0)
    prompts = [f"p{i}" for i in range(10)]
    pulled = []

    def source(start=0):
        for prompt in prompts[start:]:
            pulled.append(prompt)
            yield prompt

    options = {"seed": 3, "at_once": 4}
    stream = rejection_stream(source(), Hashed(), classifier, 0.5, **options)
    first = next(stream)
    assert pulled == prompts[:4]
    rest = list(stream)
    assert [len(one) for one in (first, *rest)] == [4, 4, 2]
    assert list(rejection_stream(source(4), Hashed(), classifier, 0.5, first=4, **options)) == rest
    assert [one.draws for one in first] != [one.draws for one in rest[0]]
    assert list(rejection_stream([], Hashed(), classifier, 0.5, **options)) == []
    with pytest.raises(ValueError, match="multiple of 4"):
        next(rejection_stream(source(), Hashed(), classifier, 0.5, first=3, **options))


def test_two_filters_share_their_proposals_until_both_have_an_answer():
    strict = ByCompletion(lambda s: -1.0 if number(s) >= {"a": 0, "b": 5, "c": 200}[s.prompt] else 1.0)
    loose = ByCompletion(lambda s: -2.0 if number(s) >= {"a": 0, "b": 2, "c": 200}[s.prompt] else 1.0)
    generator = Counting()
    of_strict, of_loose = shared_sample(["a", "b", "c"], generator, [Filter(strict, 0.5), Filter(loose, 0.5)], seed=1)
    assert [one.completion for one in of_strict] == ["a 0", "b 5", None]
    assert [one.completion for one in of_loose] == ["a 0", "b 2", None]
    assert [one.draws for one in of_loose] == [1, 3, 100]
    assert of_strict[1].rejected == (1.0,) * 5
    assert generator.drawn == {"a": 1, "b": 7, "c": 100}, "drawn once for both"
    assert sum(s.prompt == "b" for batch in loose.batches for s in batch) == 3, "answered, it is scored no more"


def test_one_of_several_filters_answers_as_it_does_alone():
    odd = ByCompletion(lambda s: -1.0 if number(s) % 7 == 6 else 1.0)
    alone = rejection_sample(["a", "b"], Counting(), odd, 0.5, seed=3)
    beside = shared_sample(["a", "b"], Counting(), [Filter(ByCompletion(lambda s: 1.0), 0.5), Filter(odd, 0.5)], seed=3)
    assert beside[1] == alone
    assert [one.completion for one in beside[0]] == [None, None]
