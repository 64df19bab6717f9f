import json

import pytest

from kexue_jax.data.annotated import Event, Events, Span
from kexue_jax.data.events import events, read_fewfc

TEXT = "兴发集团质押2000万股"


def row(*mentions):
    keys = "word", "span", "role"
    listed = [dict(zip(keys, mention, strict=True)) for mention in mentions]
    return json.dumps(
        {"content": TEXT, "events": [{"type": "质押", "mentions": listed}]}
    )


def test_triggers_and_arguments_are_told_apart_and_repeated_ones_are_one():
    number, firm = ("2000万", [6, 11], "number"), ("兴发集团", [0, 4], "sub-org")
    trigger = ("质押", [4, 6], "trigger")
    read = read_fewfc([row(number, trigger, firm, number), "\n", row(number)])
    arguments = Span(0, 4, "sub-org"), Span(6, 11, "number")
    assert read.examples == [
        Events(TEXT, (Event("质押", Span(4, 6, "trigger"), arguments),)),
        Events(TEXT, (Event("质押", None, arguments[1:]),)),
    ]
    assert read.notes == {"repeated_arguments": 1}


def test_files_of_another_form_are_refused():
    with pytest.raises(ValueError, match="an event must have one trigger"):
        read_fewfc([row(("质押", [4, 6], "trigger"), ("质", [4, 5], "trigger"))])
    with pytest.raises(ValueError, match="must be '质押', got '质押2'"):
        read_fewfc([row(("质押", [4, 7], "trigger"))])
    with pytest.raises(ValueError, match="name must be one of ee_fewfc"):
        events("fewfc")


def test_fewfc_has_the_counts_of_its_files(real_set):
    whole = events(path=real_set("ee_fewfc"))
    assert [len(part) for part in whole[:3]] == [2461, 271, 1821]
    found = [event for part in whole[:3] for e in part for event in e.events]
    assert len(found) == 4682 + 3320
    assert all(event.trigger is not None for event in found)
    assert len({event.type for event in found}) == 5
    assert whole.notes == {"repeated": 86, "shared": 84, "repeated_arguments": 8}
