"""Real text as benchmarks read it: consensus, and pairs that stay in one split."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from _judged_text import ROUNDS, Text, hatemoji, root_texts, toxic_spans, unrepeated

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
real = pytest.mark.skipif(not (DATA / "rounds").is_dir(), reason="no ../shared/data beside the project")


def write(path: Path, head: str, *rows: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")


@pytest.fixture
def crowd(tmp_path: Path) -> Path:
    folder = tmp_path / "judgements" / "toxic_spans"
    comments = ("1,one", "2,two", "3,three", "4,four", "5,nobody judged")
    write(folder / "comments.csv", "comment_id,comment_text", *comments)
    judged = (
        "1,a,True,False", "1,b,False,True", "1,c,False,True",  # two of three: No
        "2,a,False,False", "2,b,False,True",  # a tie goes to the more severe: Yes
        "3,a,True,True",  # Unsure is not Yes
        "4,a,True,False", "4,a,False,True",  # the last answer counts: No
    )  # fmt: skip
    write(folder / "annotations.csv", "comment_id,worker,all toxic,not toxic", *judged)
    return tmp_path


def test_comments_have_the_consensus_of_the_policys_rule(crowd: Path) -> None:
    found = {one.text: one.positive for one in toxic_spans(crowd)}
    assert found == {"one": False, "two": True, "three": False, "four": False}


HEAD = "entry_id,text,set,round.base,label_gold,matched_id"


def rounds(folder: Path, **files: list[str]) -> Path:
    for name in ("train", "validation", "test"):
        write(folder / "rounds" / "hatemoji_build" / f"{name}.csv", HEAD, *files.get(name, []))
    return folder


def test_a_pair_stays_in_one_split_whatever_the_file_says(tmp_path: Path) -> None:
    pairs = [(2 * i, 2 * i + 1) for i in range(40)]
    originals = [f"{a},original {a},original,5,1,{b}" for a, b in pairs]
    perturbations = [f"{b},changed {b},perturbation,5,0,{a}" for a, b in pairs]
    split = {one.text: one.split for one in hatemoji(rounds(tmp_path, train=originals, test=perturbations))}
    assert len(split) == 80
    assert all(split[f"original {a}"] == split[f"changed {b}"] for a, b in pairs)
    assert len(set(split.values())) == 3


def test_the_originals_text_is_the_root_and_the_lower_number_of_two_alike() -> None:
    def row(entry: str, kind: str, matched: str) -> dict[str, str]:
        return {"entry_id": entry, "text": f"text {entry}", "set": kind, "matched_id": matched}

    rows = [row("9", "original", "3"), row("3", "perturbation", "9"), row("12", "original", "4")]
    rows += [row("4", "original", "12"), row("7", "perturbation", "99")]
    expected = {"9": "text 9", "3": "text 9", "12": "text 4", "4": "text 4", "7": "text 7"}
    assert root_texts(rows) == expected


def test_a_text_is_taken_once_in_its_first_round(tmp_path: Path) -> None:
    later, earlier = ["8,Same  Text,original,6,1,9"], ["3,same text,original,5,0,4"]
    (only,) = hatemoji(rounds(tmp_path, train=later, test=earlier))
    assert (only.text, only.round, only.positive) == ("same text", 5, False)
    assert unrepeated([Text("a", True, "train"), Text("A ", False, "test")]) == [Text("a", True, "train")]


@real
def test_no_pair_of_the_real_rounds_is_parted_and_every_round_has_both_classes_in_each_split() -> None:
    texts = hatemoji(DATA)
    split = {one.text: one.split for one in texts}
    rows = [
        row
        for name in ("train", "validation", "test")
        for row in csv.DictReader((DATA / "rounds" / "hatemoji_build" / f"{name}.csv").open(newline=""))
    ]
    by_id = {row["entry_id"]: row["text"] for row in rows}
    pairs = [(row["text"], by_id[row["matched_id"]]) for row in rows if row["matched_id"] in by_id]
    kept = [(a, b) for a, b in pairs if a in split and b in split]
    assert len(kept) > 5800
    assert sum(split[a] != split[b] for a, b in kept) <= 2 * (len(rows) - len(texts))
    kinds = {(one.round, one.split, one.positive) for one in texts}
    assert len(kinds) == len(ROUNDS) * 3 * 2
