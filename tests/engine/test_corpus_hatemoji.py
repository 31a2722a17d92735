"""The files of HatemojiBuild: what is read, what is refused, and that no pair and no text is parted."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from engine.corpus.hatemoji import Entry, read_hatemoji
from engine.errors import BadInput
from engine.snippets import Snippet

HEADER = "entry_id,text,type,target,round.base,round.set,set,split,label_gold,matched_text,matched_id"
REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "rounds" / "hatemoji_build"


def line(number: int, text: str, matched: int, *, label: int = 1, round_: int = 5, kind: str = "original") -> str:
    return f'{number},"{text}",none,[],{round_},{round_}a,{kind},train,{label},"x",{matched}'


def write(folder: Path, train: list[str], validation: list[str] = (), test: list[str] = ()) -> Path:
    for name, lines in (("train", train), ("validation", validation), ("test", test)):
        (folder / f"{name}.csv").write_text("\n".join([HEADER, *lines]) + "\n", encoding="utf-8")
    return folder


def test_an_entry_is_read_field_by_field(tmp_path: Path) -> None:
    folder = write(
        tmp_path, [line(7, "mild 🌶️, words", 8, label=0)], test=[line(8, "other", 7, round_=6, kind="perturbation")]
    )
    first, second = read_hatemoji(folder)
    text = Snippet("", "mild 🌶️, words")
    assert first == Entry(7, text, False, 5, True, 8, "train", text.content_hash)
    assert second == Entry(8, Snippet("", "other"), True, 6, False, 7, "test", text.content_hash)
    assert first.split == second.split


def test_what_pairs_and_equal_texts_join_has_one_root(tmp_path: Path) -> None:
    """1-2 and 3-4 are pairs, 2 and 3 say the same but for white space; 5-6 stands alone."""
    folder = write(
        tmp_path,
        [line(1, "a", 2), line(2, "same text", 1, kind="perturbation"), line(5, "e", 6)],
        [line(3, "same  text ", 4), line(6, "f", 5, kind="perturbation")],
        [line(4, "d", 3, kind="perturbation")],
    )
    a, e = Snippet("", "a").content_hash, Snippet("", "e").content_hash
    assert [entry.root for entry in read_hatemoji(folder)] == [a, a, a, a, e, e]


def test_no_entries_are_none(tmp_path: Path) -> None:
    assert read_hatemoji(write(tmp_path, [])) == []


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([line(1, "a", 2)], "matched_id of entry 1 names no entry"),
        ([line(1, "a", 1), line(1, "b", 1)], "an entry_id stands there twice"),
        ([line(1, " ", 1)], r"train.csv, line 2: text is empty"),
        ([line(1, "a", 1), line(2, "b", 2, label=2)], r"train.csv, line 3: label_gold must be 0 or 1"),
        ([line(1, "a", 1, kind="copy")], "set must be original or perturbation"),
        ([line(1, "a", 1).replace("1,", "one,", 1)], "must be whole numbers"),
        (["1,short"], "label_gold must be 0 or 1"),
        ([line(1, "a", 2), line(2, "b", 1)], "entry 1 and its match are not an original and a perturbation"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        read_hatemoji(write(tmp_path, lines))


def test_a_missing_file_and_a_missing_column_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"train\.csv: No such file"):
        read_hatemoji(tmp_path)
    write(tmp_path, [])
    (tmp_path / "test.csv").write_text(HEADER.replace("matched_id", "partner") + "\n")
    with pytest.raises(BadInput, match=r"test\.csv: lacks the columns matched_id"):
        read_hatemoji(tmp_path)


@pytest.mark.skipif(not REAL.is_dir(), reason="no ../shared/data/rounds/hatemoji_build beside the project")
def test_the_real_files() -> None:
    entries = read_hatemoji(REAL)
    assert Counter(entry.published for entry in entries) == {"train": 4728, "validation": 591, "test": 593}
    assert Counter(entry.round for entry in entries) == {5: 1994, 6: 1966, 7: 1952}
    by_number = {entry.number: entry for entry in entries}
    assert all(entry.root == by_number[entry.matched].root for entry in entries)
    assert all(entry.original != by_number[entry.matched].original for entry in entries)
    splits: dict[str, set[str]] = {}
    for entry in entries:
        splits.setdefault(entry.snippet.content_hash, set()).add(entry.split)
    assert {len(found) for found in splits.values()} == {1}
    assert sum(entry.published != by_number[entry.matched].published for entry in entries) == 1964
