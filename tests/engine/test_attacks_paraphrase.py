import math

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.stats import binom
from statsmodels.stats.proportion import proportion_confint

from engine.attacks import Budget, Candidate, Target
from engine.attacks.novelty import Novelty, grams, jaccard
from engine.attacks.paraphrase import ParaphraseAttack, ParaphraseSettings, acceptance_limit, retell
from engine.errors import BadInput, BudgetSpent, GeneratorError
from engine.policies import load_policy
from engine.progress import silent
from engine.snippets import Snippet, SnippetRules

RULES = SnippetRules()
POLICY = load_policy("injury").model_copy(update={"snippet_rules": RULES})
WORDS = [f"{a}{b}" for a in "bdfgklmnprst" for b in ("ando", "erin", "ilop", "omun", "ugat")]


def story(number):
    """A valid snippet that shares no five words with another."""
    rng = np.random.default_rng(number)
    sentences = [" ".join(rng.choice(WORDS, 8)) + "." for _ in range(4)]
    return Snippet(" ".join(sentences[:3]), sentences[3])


SEEDS = [story(-i % 1000 + 10_000) for i in range(5)]


class Scripted:
    """Tells ever new stories; numbers them over all its calls for one seed."""

    def __init__(self, make=story):
        self.make = make
        self.calls = []
        self.drawn = {}

    def paraphrase(self, snippet, n, *, seed):
        self.calls.append((snippet, n, seed))
        start = self.drawn.get(snippet, 0)
        self.drawn[snippet] = start + n
        return [self.make(SEEDS.index(snippet) * 1000 + start + i) for i in range(n)]


class Pure:
    """Draws depend on the seed alone, as the protocol wants."""

    def paraphrase(self, snippet, n, *, seed):
        return [story(seed % 10_000_000 + i) for i in range(n)]


class Scorer:
    """Accepts the share `rate` of all snippets, by their hash."""

    def __init__(self, rate=1.0, tokens=10):
        self.rate = rate
        self.tokens = tokens
        self.batches = []

    def accepts(self, snippet):
        return int(snippet.content_hash[:8], 16) / 16**8 < self.rate

    def logits(self, snippets, *, progress=silent):
        self.batches.append(list(snippets))
        return np.array([-5.0 if self.accepts(s) else 5.0 for s in snippets], dtype=np.float32)

    def count_tokens(self, snippet):
        return self.tokens


class Flat:
    """Holds all texts alike."""

    def encode(self, texts):
        return np.ones((len(texts), 1), dtype=np.float32)


def no_white_box():
    raise AssertionError("a paraphrase attack does not look inside")


def attack(
    seeds=SEEDS[:1],
    paraphraser=None,
    classifier=None,
    threshold=0.5,
    seed=1,
    progress=silent,
    queries=None,
    seconds=None,
    **settings,
):
    target = Target(POLICY, classifier or Scorer(), threshold, no_white_box, Flat)
    made = ParaphraseAttack(paraphraser or Scripted(), ParaphraseSettings(**settings))
    budget = Budget(queries=queries, seconds=seconds)
    return made.run(seeds, target, budget, seed=seed, progress=progress)


def test_a_seed_is_done_when_most_are_kept_in_the_order_drawn():
    found = attack()
    assert found.candidates == [Candidate(0, story(i), -5.0, (), i + 1, 1.0) for i in range(10)]
    (seed,) = found.seeds
    assert (seed.drawn, seed.queries, seed.accepted, seed.kept, seed.stop) == (16, 16, 16, 10, "enough")
    assert (seed.invalid, seed.duplicates) == (0, 0)
    assert found.queries == 16


def test_only_what_the_classifier_accepts_is_kept():
    scorer = Scorer(0.3)
    found = attack(classifier=scorer, batch=8)
    drawn = [story(i) for i in range(found.seeds[0].drawn)]
    accepted = [s for s in drawn if scorer.accepts(s)]
    assert [c.snippet for c in found.candidates] == accepted[:10]
    assert found.seeds[0].accepted == len(accepted)


def test_least_is_enough_after_least_draws():
    scorer = Scorer(0.1)
    found = attack(classifier=scorer, least=2, least_draws=48)
    accepted = sum(scorer.accepts(story(i)) for i in range(48))
    assert 2 <= accepted < 10
    assert (found.seeds[0].drawn, found.seeds[0].kept, found.seeds[0].stop) == (48, accepted, "enough")


def test_draws_end_at_their_cap():
    paraphraser = Scripted()
    found = attack(paraphraser=paraphraser, classifier=Scorer(0.05), least=10, max_draws=40, min_acceptance=0)
    assert (found.seeds[0].drawn, found.seeds[0].stop) == (40, "searched")
    assert [n for _, n, _ in paraphraser.calls] == [16, 16, 8]


def test_a_robust_classifier_ends_the_attack_early():
    found = attack(classifier=Scorer(0.0))
    seed = found.seeds[0]
    assert (seed.drawn, seed.kept, seed.stop) == (160, 0, "low_yield")
    # The upper limit first falls below 2 % at 149 draws; batches are of 16.
    assert 1 - 0.05 ** (1 / 149) < 0.02 < 1 - 0.05 ** (1 / 148)


@pytest.mark.parametrize(("accepted", "scored"), [(0, 10), (1, 50), (7, 200), (49, 50)])
def test_the_limit_is_clopper_and_pearsons(accepted, scored):
    limit = acceptance_limit(accepted, scored)
    assert limit == pytest.approx(proportion_confint(accepted, scored, alpha=0.10, method="beta")[1], abs=1e-12)
    assert binom.cdf(accepted, scored, limit) == pytest.approx(0.05, abs=1e-9)


def test_the_limit_without_any_rejection_is_one():
    assert acceptance_limit(0, 0) == acceptance_limit(3, 3) == 1.0


def test_duplicates_of_seed_and_of_each_other_are_dropped():
    near = Snippet(SEEDS[0].prompt, SEEDS[0].completion.replace(" ", " so ", 1))
    made = [SEEDS[0], near, story(1), story(1), story(2)]
    found = attack(paraphraser=Scripted(lambda i: made[i % 5]), batch=5)
    assert [c.snippet for c in found.candidates] == [story(1), story(2)]
    assert (found.seeds[0].duplicates, found.seeds[0].stop) == (18, "searched")
    assert found.seeds[0].drawn == 20


def test_near_duplicates_within_one_batch_keep_the_first_accepted():
    first = story(1)
    near = Snippet(first.prompt, first.completion.replace(" ", " so ", 1))
    found = attack(paraphraser=Scripted(lambda i: [first, near][i % 2]), batch=2)
    assert [c.snippet for c in found.candidates] == [first]
    assert found.seeds[0].queries == 2


def test_seeds_do_not_share_a_paraphrase():
    found = attack(seeds=SEEDS[:2], paraphraser=Scripted(lambda i: story(i % 1000)), batch=4, most=5)
    hashes = [c.snippet.content_hash for c in found.candidates]
    assert len(hashes) == len(set(hashes))


def test_invalid_paraphrases_are_dropped_by_the_rules_and_the_token_count():
    made = [Snippet("One. Two.", "Not enough full stops here."), Snippet(story(1).prompt, "Short."), story(2)]
    found = attack(paraphraser=Scripted(lambda i: made[i % 3] if i % 3 < 2 else story(i)), batch=12)
    assert found.seeds[0].invalid >= 16
    assert all(c.snippet.prompt.count(".") == 3 for c in found.candidates)
    assert attack(classifier=Scorer(tokens=257)).candidates == []


def test_acceptance_is_strict_at_the_threshold():
    class At(Scorer):
        def logits(self, snippets, *, progress=silent):
            return np.zeros(len(snippets), dtype=np.float32)

    assert attack(classifier=At(), threshold=0.5, max_draws=16).candidates == []
    assert len(attack(classifier=At(), threshold=0.5001, max_draws=16).candidates) == 10
    with pytest.raises(BadInput, match="threshold"):
        attack(threshold=2)


def test_retelling_keeps_all_that_is_new_whoever_accepts_it():
    found = retell(SEEDS[:2], Scripted(), 10, rules=RULES, seed=1)
    assert [(c.seed_index, c.snippet) for c in found] == [(i, story(i * 1000 + n)) for i in (0, 1) for n in range(10)]
    assert all(math.isnan(c.logit) for c in found)
    repeating = Scripted(lambda i: [story(1), SEEDS[0], Snippet("No.", "No.")][i % 3])
    assert [c.snippet for c in retell(SEEDS[:1], repeating, 9, rules=RULES, seed=1)] == [story(1)]


@pytest.mark.parametrize(("what", "stop"), [("tokens", "token_budget"), ("money", "money_budget")])
def test_what_cannot_be_paid_ends_the_attack_and_loses_nothing(what, stop):
    class Dear(Scripted):
        def paraphrase(self, snippet, n, *, seed):
            if len(self.calls) == 3:
                raise BudgetSpent(what, "spent")
            return super().paraphrase(snippet, n, seed=seed)

    found = attack(seeds=SEEDS, paraphraser=Dear(), batch=4, seeds_at_once=2)
    assert [s.stop for s in found.seeds] == [stop] * 5
    assert [s.kept for s in found.seeds] == [8, 4, 0, 0, 0]


def test_one_classifier_call_a_round_for_all_seeds_side_by_side():
    scorer = Scorer()
    found = attack(seeds=SEEDS, classifier=scorer, seeds_at_once=3, batch=10)
    assert [len(batch) for batch in scorer.batches] == [30, 20]
    assert [s.stop for s in found.seeds] == ["enough"] * 5
    assert [c.seed_index for c in found.candidates] == [i for i in range(5) for _ in range(10)]


def test_budgets_end_the_attack_for_all_seeds():
    found = attack(seeds=SEEDS, classifier=Scorer(0.0), queries=40, seeds_at_once=2)
    assert sum(s.queries for s in found.seeds) == found.queries == 40
    assert [s.stop for s in found.seeds] == ["query_budget"] * 5
    assert [s.drawn for s in found.seeds] == [32, 32, 0, 0, 0]
    found = attack(seeds=SEEDS, classifier=Scorer(0.0), seconds=1e-9, seeds_at_once=2)
    assert ([s.stop for s in found.seeds], found.queries) == (["time_budget"] * 5, 0)
    paraphraser = Scripted()
    found = attack(seeds=SEEDS, paraphraser=paraphraser, queries=0)
    assert ([s.stop for s in found.seeds], paraphraser.calls) == (["query_budget"] * 5, [])


def test_draws_that_no_query_was_left_for_end_it_by_the_budget():
    found = attack(seeds=SEEDS, classifier=Scorer(0.0), queries=20, batch=16, max_draws=16)
    assert ([s.stop for s in found.seeds], found.queries) == (["query_budget"] * 5, 20)


def test_who_wants_few_needs_to_say_it_once():
    assert ParaphraseSettings(most=2).least == 2
    assert ParaphraseSettings(most=20).least == ParaphraseSettings().least == 5


def test_the_same_seed_draws_the_same_whatever_is_attacked_beside_it():
    whole = attack(seeds=SEEDS, paraphraser=Pure(), classifier=Scorer(0.4))
    again = attack(seeds=SEEDS, paraphraser=Pure(), classifier=Scorer(0.4), seeds_at_once=1)
    assert whole[:3] == again[:3]
    alone = attack(seeds=SEEDS[3:4], paraphraser=Pure(), classifier=Scorer(0.4))
    assert [c.snippet for c in alone.candidates] == [c.snippet for c in whole.candidates if c.seed_index == 3]
    assert attack(seeds=SEEDS, paraphraser=Pure(), classifier=Scorer(0.4), seed=2).candidates != whole.candidates


def test_a_paraphraser_with_nothing_to_say_ends_and_one_that_fails_raises():
    class Mute:
        def paraphrase(self, snippet, n, *, seed):
            return []

    found = attack(paraphraser=Mute())
    assert (found.seeds[0].drawn, found.seeds[0].stop) == (0, "searched")

    class Broken:
        def paraphrase(self, snippet, n, *, seed):
            raise GeneratorError("no", permanent=False)

    with pytest.raises(GeneratorError):
        attack(paraphraser=Broken())


def test_progress_counts_seeds_and_may_stop_the_work():
    told = []
    attack(seeds=SEEDS, seeds_at_once=2, progress=lambda d, t: told.append((d, t)))
    assert told == sorted(told)
    assert told[0] == (0, 5)
    assert told[-1] == (5, 5)

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attack(progress=stop)


def test_no_seeds_no_work():
    assert attack(seeds=[])[:3] == ([], [], 0)


def test_settings_are_checked():
    with pytest.raises(ValidationError, match="least: 11 is above most: 10"):
        ParaphraseSettings(least=11)
    with pytest.raises(ValidationError):
        ParaphraseSettings(batch=0)


def test_five_gram_overlap_by_hand():
    assert grams("One two, three four five SIX.") == {
        ("one", "two", "three", "four", "five"),
        ("two", "three", "four", "five", "six"),
    }
    assert grams("one two") == {("one", "two")}
    assert jaccard(grams("a b c d e f"), grams("a b c d e g")) == pytest.approx(1 / 3)


def test_novelty_by_cosine():
    class Encoder:
        def encode(self, texts):
            return np.array([[1.0, 0.0] if "b" in t else [0.6, 0.8] for t in texts], dtype=np.float32)

    near, far = Snippet("x", "all about b"), Snippet("y", "quite another")
    for limit, new in ((0.5, False), (0.7, True)):
        novelty = Novelty(Snippet("z", "something b"), ParaphraseSettings(near_duplicate_cosine=limit), Encoder())
        assert not novelty.is_new(near)
        assert novelty.is_new(far) == new
