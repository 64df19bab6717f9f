import html
import re

import pytest

from kexue_jax.marked_texts import Mark
from kexue_jax.train.marking import marked_html, marked_words

TEXT = "a <b> & ‘c’ 北京大学"


def plain(marked):
    """The text that a reader sees, without the names of marks."""
    return html.unescape(re.sub(r"<small.*?</small>|<[^>]*>", "", marked))


@pytest.mark.parametrize(
    "marks",
    [
        [],
        [Mark(0, len(TEXT), "all")],
        [Mark(2, 5, "x"), Mark(3, 4, "y", "wrong")],  # one within the other
        [Mark(2, 6, "x"), Mark(4, 9, "y", "missed")],  # they cross
        [Mark(12, 14, "city"), Mark(12, 16, "<school>")],
        [Mark(1, 2, "x"), Mark(1, 2, "y")],
    ],
)
def test_the_text_is_whole_and_every_mark_is_named_once(marks):
    marked = marked_html(TEXT, marks)
    assert plain(marked) == TEXT
    for mark in marks:
        assert marked.count(f">{html.escape(mark.label)}</small>") == 1
    # Within marks every character is coloured, and none outside.
    inside = sorted({at for m in marks for at in range(m.start, m.stop)})
    coloured = re.sub(r"<small.*?</small>", "", marked)
    coloured = "".join(re.findall(r"<mark[^>]*>(.*?)</mark>", coloured))
    assert html.unescape(coloured) == "".join(TEXT[at] for at in inside)


def test_a_wrong_mark_colours_what_it_shares():
    marked = marked_html("abc", [Mark(0, 3, "x"), Mark(1, 2, "y", "wrong")])
    assert '<mark class="right deep1">a</mark>' in marked
    assert '<mark class="wrong deep2">b</mark>' in marked


def test_brackets_say_what_is_wrong_and_what_is_missed():
    marks = [Mark(0, 3, "PER", "wrong"), Mark(4, 8, "ORG", "missed"), Mark(4, 6, "LOC")]
    assert marked_words("Ann 北京大学", marks) == "[Ann](!PER) [[北京](LOC)大学](?ORG)"


@pytest.mark.parametrize("mark", [Mark(0, 0, "x"), Mark(-1, 2, "x"), Mark(2, 9, "x")])
def test_marks_beyond_the_text_are_refused(mark):
    for draw in (marked_html, marked_words):
        with pytest.raises(ValueError, match="within 4 characters"):
            draw("text", [mark])
    with pytest.raises(ValueError, match="kind must be one of"):
        marked_html("text", [Mark(0, 1, "x", "odd")])
