"""The rules that estimate annotators, against Crowd-Kit and known truths."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from engine.aggregation import ConfusionModel, Vote, VoteTable, rule_named, update_items, vote_table
from engine.aggregation.dawid_skene import dawid_skene
from engine.aggregation.em import NO_PRIOR, Smoothing
from engine.aggregation.glad import fit_glad
from engine.aggregation.mace import PUBLISHED, mace
from engine.aggregation.one_coin import one_coin
from engine.errors import BadInput

CHOICES = ("Yes", "Unsure", "No")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Crowd-Kit's, about pandas
DATA = Path(__file__).parents[3] / "shared" / "data" / "aggregation"
CONVERGED = {"tolerance": 1e-12, "iterations": 20_000}


def crowd(seed, *, items=400, annotators=20, each=4, priors=(0.1, 0.2, 0.7)):
    """Votes by annotators of known confusion; one never says Yes. (table, truth, confusion)."""
    rng = np.random.default_rng(seed)
    confusion = np.stack([rng.dirichlet(np.ones(3) + 8 * row, size=annotators) for row in np.eye(3)], axis=1)
    confusion[0, :, 0] = 0
    confusion /= confusion.sum(axis=2, keepdims=True)
    truth = rng.choice(3, items, p=priors)
    who = np.concatenate([rng.choice(annotators, each, replace=False) for _ in range(items)])
    what = np.repeat(np.arange(items), each)
    said = (confusion[who, truth[what]].cumsum(axis=1) < rng.random(what.size)[:, None]).sum(axis=1)
    return VoteTable(what, who, said, np.zeros(what.size, bool), items, CHOICES), truth, confusion


def frame_of(table):
    return pd.DataFrame({"task": table.items, "worker": table.annotators, "label": table.answers})


def appended(table, items, annotators, answers):
    staff = np.zeros(len(items), dtype=bool)
    columns = (np.append(a, b) for a, b in zip(table[:4], (items, annotators, answers, staff), strict=True))
    return VoteTable(*columns, table.n_items, table.choices)


@pytest.mark.parametrize("iterations", [1, 2, 7, 40])
@pytest.mark.parametrize(("ours", "theirs"), [(dawid_skene, "DawidSkene"), (one_coin, "OneCoinDawidSkene")])
def test_without_a_prior_the_steps_are_crowd_kits(ours, theirs, iterations):
    from crowdkit.aggregation import classification

    table, _, _ = crowd(1)
    model = getattr(classification, theirs)(n_iter=iterations, tol=-np.inf)
    expected = model.fit_predict_proba(frame_of(table)).sort_index().sort_index(axis=1).to_numpy()
    found = ours(table, smoothing=NO_PRIOR, tolerance=0, iterations=iterations)
    assert found.iterations == iterations
    assert np.abs(found.posterior - expected).max() < 1e-6


def test_mace_from_crowd_kits_start_takes_crowd_kits_steps():
    """Where annotators and answers first appear in sorted order: else Crowd-Kit mixes up their habits."""
    from crowdkit.aggregation import MACE

    table, _, _ = crowd(2)
    order = np.lexsort((table.answers, table.annotators))
    order = order[table.annotators[order] > 0]  # who never says Yes comes first, so No would come before Yes
    table = VoteTable(*(column[order] for column in table[:4]), 400, CHOICES)
    theirs = MACE(n_restarts=1, n_iter=15, random_state=3)
    expected = theirs.fit_predict_proba(frame_of(table)).sort_index().sort_index(axis=1).to_numpy()
    theirs._initialize(19, 3)
    knowing = theirs.spamming_[:, 1, None, None] * np.eye(3)
    confusion = (theirs.spamming_[:, :1] * theirs.thetas_)[:, None, :] + knowing
    start = ConfusionModel(np.arange(1, 20), confusion, np.full(3, 1 / 3), confusion[:2])
    found = mace(table, habits=PUBLISHED, start=start, tolerance=0, iterations=16)
    assert np.unique(table.items).size == 400
    assert np.abs(found.posterior - expected).max() < 1e-6


@pytest.mark.slow
def test_glad_ends_at_crowd_kits_optimum():
    from crowdkit.aggregation import GLAD

    table, _, _ = crowd(3, items=12, annotators=6)
    theirs = GLAD(n_iter=15, tol=-np.inf, m_step_max_iter=8, m_step_tol=1e-8)
    expected = theirs.fit_predict_proba(frame_of(table)).sort_index().sort_index(axis=1).to_numpy()
    found = fit_glad(table, **CONVERGED)
    assert np.abs(found.posterior - expected).max() < 1e-6
    assert found.ability == pytest.approx(theirs.alphas_.sort_index().to_numpy(), abs=1e-6)
    assert found.ease == pytest.approx(theirs.betas_.sort_index().to_numpy(), abs=1e-6)


def test_glad_stands_where_the_slope_is_zero():
    """By numerical derivative of the expected log-posterior, written out vote by vote."""
    table, _, _ = crowd(4, items=30, annotators=6)
    found = fit_glad(table, **CONVERGED)
    right = found.posterior[table.items, table.answers]

    def expected(ability, ease):
        chance = expit(ability[table.annotators] * np.exp(ease[table.items]))
        votes = right * np.log(chance) + (1 - right) * np.log((1 - chance) / 2)
        return votes.sum() - ((ability - 1) ** 2).sum() / 2 - ((ease - 1) ** 2).sum() / 2

    for i in range(6):
        step = np.zeros(6)
        step[i] = 1e-5
        assert abs(expected(found.ability + step, found.ease) - expected(found.ability - step, found.ease)) < 1e-9
    for i in range(30):
        step = np.zeros(30)
        step[i] = 1e-5
        assert abs(expected(found.ability, found.ease + step) - expected(found.ability, found.ease - step)) < 1e-9


def test_dawid_skene_finds_the_confusion_it_was_made_from():
    table, truth, confusion = crowd(5, items=20_000, each=5)
    found = dawid_skene(table)
    assert np.abs(found.model.confusion[1:] - confusion[1:]).max() < 0.06
    assert np.abs(found.model.confusion[1:] - confusion[1:]).mean() < 0.01
    assert found.model.priors == pytest.approx([0.1, 0.2, 0.7], abs=0.01)
    assert found.model.confusion.sum(axis=2) == pytest.approx(1)
    best = (found.codes == truth).mean()
    assert best > (rule_named("policy_rule").many(table).codes == truth).mean() + 0.02
    # What it calls 90 % sure is right in 90 %: the posterior is a probability.
    sure = found.posterior.max(axis=1)
    for low, high in ((0.5, 0.7), (0.7, 0.9), (0.9, 0.99)):
        there = (sure >= low) & (sure < high)
        assert there.sum() > 200
        assert (found.codes == truth)[there].mean() == pytest.approx(sure[there].mean(), abs=1.5 / np.sqrt(there.sum()))


def test_one_step_by_hand():
    """Two items, alice and bob; worked out with priors of two votes at 75 % and one item of each choice."""
    votes = [[Vote("alice", "Yes"), Vote("bob", "Yes")], [Vote("alice", "No"), Vote("bob", "Yes")]]
    found = dawid_skene(vote_table(votes, ("Yes", "No")), smoothing=Smoothing(2, 0.75, choices=1), iterations=1)
    # Shares: item 0 is (1, 0), item 1 is (1/2, 1/2). Priors: (1.5 + 1, 0.5 + 1) / 4.
    assert found.model.priors.tolist() == [0.625, 0.375]
    # Alice, truth Yes: said Yes 1 + 1.5, said No 0.5 + 0.5. Truth No: said Yes 0 + 0.5, said No 0.5 + 1.5.
    assert found.model.confusion[0] == pytest.approx(np.array([[2.5 / 3.5, 1 / 3.5], [0.5 / 2.5, 2 / 2.5]]))
    # Bob, truth Yes: said Yes 1.5 + 1.5, said No 0.5. Truth No: said Yes 0.5 + 0.5, said No 1.5.
    assert found.model.confusion[1] == pytest.approx(np.array([[3 / 3.5, 0.5 / 3.5], [1 / 2.5, 1.5 / 2.5]]))
    yes = 0.625 * (2.5 / 3.5) * (3 / 3.5)
    no = 0.375 * (0.5 / 2.5) * (1 / 2.5)
    assert found.posterior[0, 0] == pytest.approx(yes / (yes + no))


def test_a_prior_keeps_rare_choices_possible():
    """Ten annotators who have only said No so far: then three of them say Yes to one item and one says No."""
    items = [[Vote(f"a{j}", "No") for j in range(10)] for _ in range(50)]
    items.append([Vote("a0", "Yes"), Vote("a1", "Yes"), Vote("a2", "Yes"), Vote("a3", "No")])
    table = vote_table(items, CHOICES)
    assert dawid_skene(table).codes[50] == 0
    assert dawid_skene(table).posterior[50, 1] > 1e-6
    without = dawid_skene(table, smoothing=NO_PRIOR)
    assert without.posterior[50].max() > 1 - 1e-9


@pytest.mark.parametrize("rule", [dawid_skene, one_coin, mace])
def test_staff_are_believed_sooner(rule):
    background = [[Vote(f"p{i}", "Yes"), Vote(f"q{i}", "No")] for i in range(6)]
    for staff, expected in ((False, 0), (True, 2)):
        votes = [*background, [Vote("new", "Yes"), Vote("sam", "No", staff=staff)]]
        assert rule(vote_table(votes, CHOICES)).codes[6] == expected


@pytest.mark.parametrize("rule", [dawid_skene, one_coin, mace])
def test_an_item_is_updated_to_what_the_whole_would_say_of_it(rule):
    table, _, _ = crowd(6)
    whole = rule(table)
    assert np.abs(update_items(whole.model, table).posterior - whole.posterior).max() < 1e-12
    some = np.isin(table.items, [17, 230])
    part = VoteTable(*(column[some] for column in table[:4]), 400, CHOICES)
    found = update_items(whole.model, part)
    assert found.posterior[[17, 230]] == pytest.approx(whole.posterior[[17, 230]], abs=1e-12)
    assert (found.posterior.sum(axis=1) > 0).sum() == 2


def test_a_new_vote_moves_its_item_by_bayes_rule():
    table, _, _ = crowd(7)
    model = dawid_skene(table).model
    one = table.items == 9
    before = VoteTable(table.items[one] * 0, *(column[one] for column in table[1:4]), 1, CHOICES)
    old = update_items(model, before).posterior[0]
    known = update_items(model, appended(before, [0], [5], [0])).posterior[0]
    assert known == pytest.approx(old * model.confusion[5, :, 0] / (old @ model.confusion[5, :, 0]))
    stranger = update_items(model, appended(before, [0], [99], [0])).posterior[0]
    guess = np.array([0.8, 0.1, 0.1])
    assert model.newcomers[0, :, 0] == pytest.approx(guess)
    assert stranger == pytest.approx(old * guess / (old @ guess))


def test_updating_costs_what_the_items_votes_cost():
    table, _, _ = crowd(8, items=2000, annotators=30)
    model = dawid_skene(table).model
    seen = []

    class Watched(np.ndarray):
        def __array_finalize__(self, made_from):
            seen.append(self.size)

    part = VoteTable(np.zeros(3, int), np.array([3, 4, 31]), np.zeros(3, int), np.zeros(3, bool), 1, CHOICES)
    update_items(model._replace(confusion=model.confusion.view(Watched)), part)
    assert max(seen[1:]) == 2 * 9, "of the known annotators' matrices only those of the two who voted are read"


def test_a_model_of_other_choices_is_refused():
    table, _, _ = crowd(6)
    with pytest.raises(BadInput, match="the model knows 3 choices, the votes 2"):
        update_items(dawid_skene(table).model, vote_table([[Vote("a", "Yes")]], ("Yes", "No")))


@pytest.mark.parametrize("rule", [dawid_skene, one_coin, mace])
def test_a_warm_start_ends_where_a_cold_one_does_in_fewer_steps(rule):
    table, _, _ = crowd(9, items=1500)
    earlier = rule(table, **CONVERGED)
    grown = appended(table, [3, 3, 700, 1200, 1200], [1, 40, 2, 41, 41], [0, 0, 1, 2, 2])
    cold, warm = rule(grown, **CONVERGED), rule(grown, start=earlier.model, **CONVERGED)
    assert np.abs(cold.posterior - warm.posterior).max() < 1e-6
    assert np.abs(cold.model.confusion - warm.model.confusion).max() < 1e-6
    assert warm.iterations < cold.iterations
    again = rule(table, start=earlier.model, **CONVERGED)
    assert again.iterations <= 3
    quick = rule(grown, start=earlier.model)
    assert quick.iterations < rule(grown).iterations


def test_items_with_hundreds_of_votes_do_not_underflow():
    annotators = np.arange(1200)
    answers = np.where(annotators < 700, 0, 2)
    table = VoteTable(np.zeros(1200, int), annotators, answers, np.zeros(1200, bool), 1, CHOICES)
    for name in ("dawid_skene", "one_coin", "glad", "mace"):
        found = rule_named(name).many(table)
        assert found.posterior[0].tolist() == pytest.approx([1, 0, 0])


def real_sets():
    """(votes of (annotator, item, answer), truth by item) of each set there is."""
    for name in ("SP_amt", "CF_amt"):
        with (DATA / f"{name}.csv").open(newline="") as file:
            rows = list(csv.reader(file))
        yield name, [tuple(row[:3]) for row in rows], {row[1]: row[3] for row in rows}
    rows = [line.split() for line in (DATA / "barzan_mozafari" / "labels.txt").read_text().splitlines()]
    truth = dict(line.split() for line in (DATA / "barzan_mozafari" / "evaluation.txt").read_text().splitlines())
    yield "barzan_mozafari", [tuple(row) for row in rows], truth


def real_table(votes, truth):
    """The votes as a table, and the true code of each item."""
    choices = tuple(sorted({vote[2] for vote in votes} | set(truth.values())))
    columns = [np.unique([vote[i] for vote in votes], return_inverse=True) for i in (1, 0)]
    answers = np.array([choices.index(vote[2]) for vote in votes])
    items = columns[0][0]
    table = VoteTable(columns[0][1], columns[1][1], answers, np.zeros(len(votes), bool), items.size, choices)
    return table, np.array([choices.index(truth[item]) for item in items])


@pytest.mark.slow
@pytest.mark.skipif(not DATA.exists(), reason=f"the crowd's answers are not at {DATA}")
def test_accuracies_on_real_answers_are_crowd_kits():
    from crowdkit.aggregation import DawidSkene, MajorityVote, OneCoinDawidSkene

    sizes, by_rule = {}, {}
    for name, votes, truth in real_sets():
        table, expected = real_table(votes, truth)
        frame = frame_of(table)
        sizes[name] = (len(votes), table.n_items)

        def accuracy(found, expected=expected):
            return float((np.asarray(found) == expected).mean())

        def theirs(model, frame=frame, accuracy=accuracy):
            return accuracy(model.fit_predict(frame).sort_index().to_numpy())

        plain = accuracy(dawid_skene(table, smoothing=NO_PRIOR).codes)
        assert plain == pytest.approx(theirs(DawidSkene()), abs=0.005), name
        plain = accuracy(one_coin(table, smoothing=NO_PRIOR).codes)
        assert plain == pytest.approx(theirs(OneCoinDawidSkene()), abs=0.005), name
        by_rule[name] = {rule: accuracy(rule_named(rule).many(table).codes) for rule in ("dawid_skene", "one_coin")}
        by_rule[name]["majority"] = accuracy(rule_named("majority").many(table).codes)
        assert by_rule[name]["dawid_skene"] > theirs(DawidSkene()) - 0.005, name
        assert by_rule[name]["one_coin"] > theirs(OneCoinDawidSkene()) - 0.005, name
        assert by_rule[name]["majority"] == pytest.approx(theirs(MajorityVote()), abs=0.005), name
    assert sizes == {"SP_amt": (10_000, 500), "CF_amt": (6_030, 300), "barzan_mozafari": (5_000, 1_000)}
