import os

import pytest

from engine.corpus import Story, check_stories, corpus_bytes, read_stories, stories
from engine.errors import BadInput


def write(folder, **files):
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("_txt", ".txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def test_stories_come_by_name_from_all_folders_below(tmp_path):
    write(
        tmp_path, b_txt=b"Second.", a__z_txt=b"First.", **{"c.md": b"No.", ".hidden_txt": b"No.", ".git__d_txt": b"No."}
    )
    assert list(read_stories(tmp_path)) == [Story("a/z.txt", "First."), Story("b.txt", "Second.")]
    assert corpus_bytes(tmp_path) == 13


def test_byte_order_mark_is_no_text(tmp_path):
    write(tmp_path, a_txt=b"\xef\xbb\xbfCaf\xc3\xa9.", **{"B.TXT": b"Upper."})
    assert [story.text for story in read_stories(tmp_path)] == ["Upper.", "Café."]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"Caf\xe9 closed.", "not UTF-8: byte 0xe9 at byte 3"),
        (b"\xef\xbb\xbfCaf\xe9 closed.", "not UTF-8: byte 0xe9 at byte 6"),
        (b"Caf\xc3\xa9 cut sh\xc3", "not UTF-8: byte 0xc3 at byte 12"),
        (b"abc\x00\xff\xd8", "not a text file: null byte at byte 3"),
        ("Story.".encode("utf-16"), "is UTF-16; save it as UTF-8"),
        (b"x" * 2001, "0.0 MB, a story may have at most 0.0 MB; split it into several files"),
    ],
)
def test_a_bad_file_stops_the_reading_and_is_named(tmp_path, content, message):
    write(tmp_path, a_txt=b"Good.", b_txt=content)
    with pytest.raises(BadInput) as refused:
        list(read_stories(tmp_path, max_bytes=2000))
    assert str(refused.value) == f"{tmp_path / 'b.txt'}: {message}"


def test_bad_files_can_be_reported_and_skipped(tmp_path):
    write(tmp_path, a_txt=b"\x00", b_txt=b"Good.", c_txt=b"\xff.", d_txt=b"Long story.")
    reported = []
    stories = list(read_stories(tmp_path, max_bytes=10, on_bad=reported.append))
    assert stories == [Story("b.txt", "Good.")]
    assert [error.where for error in reported] == [str(tmp_path / name) for name in ("a.txt", "c.txt", "d.txt")]


def test_nothing_but_bad_files_is_an_error_even_when_they_are_skipped(tmp_path):
    write(tmp_path, a_txt=b"\x00", b_txt=b"\xff")
    with pytest.raises(BadInput, match=r"none of its 2 \.txt files could be read"):
        list(read_stories(tmp_path, on_bad=lambda _: None))


def test_folder_and_sizes_are_checked_before_the_first_story(tmp_path):
    write(tmp_path, a_txt=b"Good.")
    with (tmp_path / "b.txt").open("wb") as large:
        large.truncate(200_000_000)
    with pytest.raises(BadInput, match=r"b\.txt: 200\.0 MB, a story may have at most 50\.0 MB; split it"):
        read_stories(tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [("gone", "no such folder"), ("empty", "holds no .txt file"), ("a.txt", "not a folder of stories")],
)
def test_a_folder_without_stories(tmp_path, name, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.txt").write_text("Good.")
    with pytest.raises(BadInput) as refused:
        read_stories(tmp_path / name)
    assert str(refused.value) == f"{tmp_path / name}: {message}"


@pytest.mark.parametrize(("read_at_once", "refused"), [(100, True), (9, False)])
def test_stories_are_checked_whole_where_that_is_quick(tmp_path, monkeypatch, read_at_once, refused):
    monkeypatch.setattr(stories, "READ_AT_ONCE_BYTES", read_at_once)
    write(tmp_path, a_txt=b"Good.", b_txt=b"Caf\xe9.")
    if refused:
        with pytest.raises(BadInput, match=r"b\.txt: not UTF-8: byte 0xe9 at byte 3"):
            check_stories(tmp_path)
    else:
        check_stories(tmp_path)
    with pytest.raises(BadInput, match=r"a\.txt: 0\.0 MB, a story may have at most"):
        check_stories(tmp_path, max_bytes=4)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read(tmp_path):
    write(tmp_path, a_txt=b"Good.")
    tmp_path.chmod(0)
    try:
        with pytest.raises(BadInput, match="may not be read by this user"):
            read_stories(tmp_path)
    finally:
        tmp_path.chmod(0o700)


def test_a_file_that_vanishes_is_named(tmp_path):
    write(tmp_path, a_txt=b"Good.", b_txt=b"Gone.")
    stories = read_stories(tmp_path)
    assert next(stories).name == "a.txt"
    (tmp_path / "b.txt").unlink()
    with pytest.raises(BadInput, match=r"b\.txt: No such file or directory"):
        next(stories)
