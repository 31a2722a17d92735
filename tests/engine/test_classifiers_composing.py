"""Composing a training set: whose row counts, which duplicates go, what gives way, what is repeated."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from pydantic import ValidationError

from engine.classifiers.composing import Composed, Composing, Dropped, Row, compose
from engine.snippets import Snippet

INITIAL = frozenset({"initial"})


def row(key: str, *, text: str = "", choice: str = "No", dataset: str = "initial") -> Row:
    completion = text or f"what {key} says"
    digest = Snippet("", completion).content_hash
    return Row(key, digest, digest, "train", "corpus", choice, dataset, 1, "", completion)


def composed(datasets: dict[str, Sequence[Row]], *, seed: int = 0, **wanted: object) -> Composed:
    named = {name: [one._replace(dataset=name) for one in rows] for name, rows in datasets.items()}
    return compose(named, INITIAL, Composing(**wanted), lambda choice: choice != "No", seed=seed)


def keys(found: Composed) -> list[str]:
    return [one.snippet_id for one in found.rows]


def test_one_dataset_stays_as_it_is_in_its_order() -> None:
    rows = [row(name) for name in "cab"]
    assert composed({"initial": rows}) == Composed(rows, [], 3)


def test_no_rows_make_none() -> None:
    assert composed({}) == Composed([], [], 0)
    assert composed({"initial": []}, near_duplicates=0.7) == Composed([], [], 0)


def test_added_rows_replace_random_initial_ones_as_before_there_were_snapshots() -> None:
    """Those that rounds left out before they had this function: a permutation's last ones, by seed and size."""
    initial, added = [row(f"i{n:02d}") for n in range(20)], [row(f"a{n}") for n in range(6)]
    kept = sorted(np.random.default_rng([3, 20]).permutation(20)[:14])
    found = composed({"initial": initial, "added": added}, seed=3)
    assert keys(found) == [f"i{n:02d}" for n in kept] + [f"a{n}" for n in range(6)]
    assert found.size == 20


def test_each_step_takes_more_of_the_same_initial_rows_away() -> None:
    initial, first, second = (
        [row(f"{name}{n}") for n in range(size)] for name, size in (("i", 12), ("a", 3), ("b", 4))
    )
    one = composed({"initial": initial, "first": first})
    two = composed({"initial": initial, "first": first, "second": second})
    assert len(one.rows) == len(two.rows) == 12
    assert {key for key in keys(two) if key[0] == "i"} < {key for key in keys(one) if key[0] == "i"}
    assert keys(composed({"initial": initial, "first": first}, seed=1)) != keys(one)


def test_more_added_rows_than_there_are_initial_ones_all_stay() -> None:
    found = composed({"initial": [row("i")], "added": [row("a"), row("b")]})
    assert (keys(found), found.size) == (["a", "b"], 1)


def test_a_size_of_ones_own_or_none() -> None:
    datasets = {"initial": [row(f"i{n}") for n in range(5)], "added": [row("a")]}
    assert len(composed(datasets, size=3).rows) == 3
    assert len(composed(datasets, size=100).rows) == 6
    assert composed(datasets, equal_sizes=False) == composed(datasets, size=6)._replace(size=None)


def test_a_snippet_counts_to_the_first_dataset_that_holds_it() -> None:
    found = composed({"initial": [row("a"), row("b")], "added": [row("b"), row("c")]}, equal_sizes=False)
    assert [(one.snippet_id, one.dataset) for one in found.rows] == [("a", "initial"), ("b", "initial"), ("c", "added")]
    assert found.dropped == []


def test_only_other_datasets_are_oversampled() -> None:
    found = composed({"initial": [row("a"), row("b")], "added": [row("c")]}, oversample=4)
    assert [(one.dataset, one.times) for one in found.rows] == [("initial", 1), ("added", 4)]
    with pytest.raises(ValidationError):
        Composing(oversample=26)


def test_of_equal_texts_the_first_is_kept_and_none_where_labels_train_apart() -> None:
    """Yes and Unsure train alike. Case matters; white space does not."""
    rows = [
        row("a", text="Same text.", choice="Yes"),
        row("b", text="one and one"),
        row("c", text="Same  text.", choice="Unsure"),
        row("d", text="one and one", choice="Yes"),
        row("e", text="same text."),
    ]
    found = composed({"initial": rows})
    assert keys(found) == ["a", "e"]
    assert found.dropped == [
        Dropped("c", "duplicate", "a"),
        Dropped("b", "contradictory", ""),
        Dropped("d", "contradictory", ""),
    ]
    assert found.size == 2


def test_near_duplicates_go_only_where_they_are_asked_for_and_of_one_class() -> None:
    long = "the old baker walked along the river to the mill and sat down beside the door to rest a while"
    rows = [row("a", text=long), row("b", text=f"{long} there"), row("c", text=f"{long} hurt", choice="Yes"), row("d")]
    assert keys(composed({"initial": rows})) == ["a", "b", "c", "d"]
    found = composed({"initial": rows}, near_duplicates=0.7)
    assert (keys(found), found.dropped) == (["a", "c", "d"], [Dropped("b", "near_duplicate", "a")])
    assert found == composed({"initial": rows}, near_duplicates=0.7)
