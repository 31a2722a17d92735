import pytest

from engine.corpus.cleaning import clean

BOOK = """\
THE TALES

By A. Writer



CONTENTS

     1.  THE OLD DOG  . . . . . . .  3
     2.  THE MILL AND THE MAN THAT
            NOBODY KNEW . . . . . . 19

PREFACE

These tales were told to me by my grandmother, who had them from hers. I have changed
nothing that matters, and have left out nothing that she would have missed.




THE OLD DOG

There was once an old dog who lived
in a barn by the sea, and slept all day.

"Who goes there?" it said.(1)

     * * * * *

It was the half-
light of _early_ morning--and cold.

[Illustration: The dog]

(1) Dogs do not speak.


CHAPTER II.

The Mill and the Man.

The mill stood by the river.
"""


def test_a_book_is_its_tales_without_front_matter_headings_and_notes():
    assert list(clean(BOOK)) == [
        ["There was once an old dog who lived in a barn by the sea, and slept all day.", '"Who goes there?" it said.'],
        ["It was the half-light of early morning--and cold."],
        ["The mill stood by the river."],
    ]


def test_project_gutenberg_markers():
    text = (
        "The Project Gutenberg eBook of Tales. Free for all.\n\n*** START OF THE PROJECT GUTENBERG EBOOK TALES ***\n\n"
        "Produced by Somebody\n\nThe mill stood by the river.\n\n*** END OF THE PROJECT GUTENBERG EBOOK TALES ***\n\n"
        "Updated editions will replace the previous one.\n"
    )
    assert list(clean(text)) == [["The mill stood by the river."]]


FILLER = ["The mill stood by the river, and the river ran down to the sea as rivers do in tales."] * 20


@pytest.mark.parametrize(
    "signal", ["A/N: This is my first one!", "a/n be kind", "Disclaimer: not mine.", "I don't own them."]
)
def test_all_before_a_signal_of_a_preamble_goes(signal):
    text = "\n\n".join(["Wolves, chapter one.", signal, *FILLER])
    assert list(clean(text)) == [FILLER]


@pytest.mark.parametrize("signal", ["END", "The End.", "*Fin*", "TBC", "A/N: sorry it is so short.", "Please review!"])
def test_all_after_a_signal_of_a_postamble_goes(signal):
    text = "\n\n".join([*FILLER, signal, "I will update on Friday.", "Love, me."])
    assert list(clean(text)) == [FILLER]


def test_an_end_in_the_middle_parts_two_tales():
    long = FILLER * 5
    assert list(clean("\n\n".join([*long, "THE END", *long]))) == [long, long]


def test_a_note_in_the_middle_goes_alone():
    long = FILLER * 5
    assert list(clean("\n\n".join([*long, "(A/N: I love this part.)", *long]))) == [long + long]


def test_where_lines_are_not_wrapped_each_is_a_paragraph():
    lines = [
        "The mill stood by the river, and the river ran down to the sea. " * 3,
        "He ran.",
        "xXxXx",
        "She did not run. " * 9,
    ]
    assert list(clean("\r\n".join(lines))) == [[lines[0].strip(), "He ran."], [lines[3].strip()]]


@pytest.mark.parametrize(
    "heading",
    ["CHAPTER IV.", "Chapter Four: The Sea", "XII", "12 The Goose (Die Gans)", "-----", "Hans in Luck", "Epilogue"],
)
def test_headings_part_sections(heading):
    assert list(clean(f"He ran.\n\n{heading}\n\nShe ran.")) == [["He ran."], ["She ran."]]


@pytest.mark.parametrize(
    "line", ['"STOP!"', "He ran.", "She said:", "the Old Man of the Sea", "Part of the roof fell in.", "I was alone."]
)
def test_prose_is_no_heading(line):
    assert list(clean(f"He ran.\n\n{line}\n\nShe ran.")) == [["He ran.", line, "She ran."]]


@pytest.mark.parametrize("text", ["", "\n\n \n", "* * *", "\ufeff"])
def test_no_story(text):
    assert list(clean(text)) == []


@pytest.mark.parametrize(
    "text", ["_a " * 20_000, "[Illustration " * 10_000, "*" * 50_000, "." * 50_000, ". " * 50_000, " \n" * 50_000]
)
def test_odd_text_does_not_take_long(text):
    sections = list(clean(text))
    assert sum(len(paragraph) for section in sections for paragraph in section) <= len(text)
