import json

import pytest

from kexue_jax.data.annotated import Answer, Question
from kexue_jax.data.questions import answer_at, questions, read_squad


def squad(context, *questions):
    qas = [
        {
            "id": str(n),
            "question": "谁？",
            "answers": [{"text": t, "answer_start": s} for t, s in answers],
        }
        for n, answers in enumerate(questions)
    ]
    return json.dumps({"data": [{"paragraphs": [{"context": context, "qas": qas}]}]})


def test_an_answer_is_where_it_is_said_to_be_or_at_the_nearest_place():
    assert answer_at("ababab", "ab", 2) == Answer(2, "ab")
    assert answer_at("ababab", "ab", 3) == Answer(2, "ab")
    assert answer_at("ababab", "ab", 40) == Answer(4, "ab")
    assert answer_at("ababab", "ab", -1) == Answer(0, "ab")
    assert answer_at("ababab", "c", 0) is answer_at("ababab", "", 0) is None


def test_wrong_places_are_repaired_and_lost_answers_are_left_out():
    text = "王维和李白都写诗"
    file = squad(
        text, [("李白", 3), ("李白", 0)], [("杜甫", -1), ("王维", 0)], [("杜", 0)]
    )
    read = read_squad([file])
    right = Answer(3, "李白")
    assert read.examples == [
        Question("0", "谁？", text, (right, right)),
        Question("1", "谁？", text, (Answer(0, "王维"),)),
    ]
    assert read.notes == {"moved": 1, "lost": 2, "unanswered": 1}
    with pytest.raises(ValueError, match="name must be one of mrc_cmrc2018"):
        questions("squad")


def contexts(part):
    return {question.context for question in part}


@pytest.mark.parametrize(
    ("name", "want", "count", "notes"),
    [
        ("mrc_cmrc2018", [2901, 318, 1002], 848 + 256, (12, 193, 0)),
        ("mrc_drcd", [2813, 349, 362], 1000, (0, 0, 0)),
    ],
)
def test_no_context_is_in_two_parts(real_set, name, want, count, notes):
    whole = questions(name, path=real_set(name))
    assert [len(part) for part in whole[:3]] == want
    parts = [contexts(part) for part in whole[:3]]
    assert len(set.union(*parts)) == sum(map(len, parts)) == count
    assert tuple(whole.notes[n] for n in ("moved", "lost", "unanswered")) == notes
