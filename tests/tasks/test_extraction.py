from functools import partial

import jax
import numpy as np
import optax
import pytest
from flax import nnx

from kexue_jax.data.annotated import Answer, Entities, Question, Relations, Span, Triple
from kexue_jax.data.buckets import Bucketed
from kexue_jax.data.characters import Characters
from kexue_jax.data.corpora import Corpus
from kexue_jax.data.drawn_annotations import drawn
from kexue_jax.losses.multilabel import (
    difference_multilabel_cross_entropy,
    sparse_multilabel_cross_entropy,
)
from kexue_jax.nn import families
from kexue_jax.nn.extractor import Extractor, Tagger
from kexue_jax.tasks.answer_schemes import EndsOfAnswers, SpansOfAnswers
from kexue_jax.tasks.entity_schemes import Entity, SpanEntities, TagEntities
from kexue_jax.tasks.event_schemes import LinkedEvents, TaggedEvents
from kexue_jax.tasks.extraction import Extraction
from kexue_jax.tasks.relation_schemes import CascadedTriples, LinkedTriples

ENCODER = partial(families.roformer, features=32, layers=1, heads=2, hidden=64)
ALONE = partial(TagEntities, tagger=partial(Tagger, chain=None), scheme="BIOES")
SCHEMES = {
    "spans": ("weather", SpanEntities, 0.95),
    "chain": ("weather", TagEntities, 0.95),
    "alone": ("weather", ALONE, 0.95),
    "linked triples": ("relations", LinkedTriples, 0.9),
    "cascaded triples": ("relations", CascadedTriples, 0.75),
    "linked events": ("events", LinkedEvents, 0.9),
    "tagged events": ("events", TaggedEvents, 0.75),
    "ends of answers": ("questions", EndsOfAnswers, 0.9),
    "spans of answers": ("questions", SpansOfAnswers, 0.9),
}


def made(corpus, scheme, **changes):
    options = dict(
        tokenizer=partial(Characters, least=1),
        learns=True,
        encoder=ENCODER,
        scheme=scheme,
        model=Extractor,
        bucketed=partial(Bucketed, batch=16, lengths=(64, 128)),
    )
    task = Extraction(corpus=corpus, **options | changes)
    assert task.sets  # they are read when they are first needed
    return task


def trained(task, steps, rate):
    params, extras = jax.jit(task.init)(jax.random.key(0))
    tx = optax.adam(rate)
    state = tx.init(params)

    @jax.jit
    def step(params, state, batch, rng):
        grads = jax.grad(lambda p: task.loss(p, extras, batch, rng)[0])(params)
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    for number in range(steps):
        batch = task.batch(number)
        params, state = step(params, state, batch, jax.random.key(number))
    return params, extras


@pytest.mark.slow
@pytest.mark.parametrize("name", SCHEMES)
def test_every_scheme_learns_what_is_to_be_taken_out(name):
    kind, scheme, least = SCHEMES[name]
    train, held_out, steps, rate = 192, 24, 250, 3e-3
    encoder = ENCODER
    if kind == "questions":  # who is meant has to be looked up
        train, held_out, steps = 3000, 96, 1500
        rate = optax.cosine_decay_schedule(rate, steps)
        encoder = partial(ENCODER, layers=2)
    corpus = drawn(kind, train=train, held_out=held_out)
    task = made(corpus, scheme, encoder=encoder)
    params, extras = trained(task, steps, rate)
    scores = task.evaluate(params, extras)
    assert scores["test/f1"] > least
    example = task.examples["test"][0]
    text = task.scheme.texts(example)
    (found,) = task.predict(params, extras, [text])
    whole = text if isinstance(text, str) else text[1]
    assert found
    for item in found:
        assert 0.0 <= item["score"] <= 1.0
        assert item["shown"]
        for part in (item, *item.get("arguments", ()), *map(item.get, ("subject",))):
            if part and "start" in part:
                words = part.get("text", part.get("words"))
                assert whole[part["start"] : part["stop"]] == words


@pytest.mark.parametrize("name", SCHEMES)
def test_gold_labels_come_back_and_are_scored_as_right(name):
    kind, scheme, _ = SCHEMES[name]
    task = made(drawn(kind, train=24, held_out=8), scheme)
    for part, examples in task.examples.items():
        gold = [task.scheme.all_gold(example) for example in examples]
        assert task.scheme.scores(gold, gold)["f1"] == 1.0
        none = [frozenset()] * len(gold)
        assert task.scheme.scores(gold, none)["f1"] == 0.0
        assert task.notes[f"{part}/invented"] == 0
    if name != "tagged events":  # they cannot say that one span is in two events
        assert not any(n for key, n in task.notes.items() if key.endswith("missed"))


@pytest.mark.parametrize("name", ["spans", "chain", "cascaded triples"])
def test_losses_and_gradients_are_finite_and_padding_is_not_read(name):
    kind, scheme, _ = SCHEMES[name]
    task = made(drawn(kind, train=24, held_out=8), scheme)
    params, extras = jax.jit(task.init)(jax.random.key(0))
    batch = task.sets["train"].padded([0, 1, 2, -1])
    value = jax.jit(
        jax.value_and_grad(lambda p, b: task.loss(p, extras, b, jax.random.key(0))[0])
    )
    loss, grads = value(params, batch)
    assert np.isfinite(loss)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))
    other = dict(batch)
    other["tokens"] = np.where(batch["kept"], batch["tokens"], 3).astype(np.int32)
    again, _ = value(params, other)
    np.testing.assert_allclose(loss, again, rtol=1e-6)


@pytest.mark.parametrize("threshold", [-2.0, 3.0])
@pytest.mark.parametrize("name", ["spans", "linked triples", "linked events"])
def test_gold_labels_come_back_at_any_threshold(name, threshold):
    kind, scheme, _ = SCHEMES[name]
    task = made(drawn(kind, train=8, held_out=4), partial(scheme, threshold=threshold))
    assert task.notes["train/gold"] > 0


@pytest.mark.parametrize(
    "objective", [sparse_multilabel_cross_entropy, difference_multilabel_cross_entropy]
)
def test_a_loss_of_all_scores_is_that_of_the_pointer(objective):
    corpus = drawn("weather", train=24, held_out=8)
    own = made(corpus, SpanEntities)
    other = made(corpus, partial(SpanEntities, objective=objective))
    params, extras = jax.jit(own.init)(jax.random.key(0))
    batch = own.sets["train"].padded([0, 1, 2, -1])
    losses = [
        jax.jit(task.loss)(params, extras, batch, None)[0] for task in (own, other)
    ]
    np.testing.assert_allclose(*losses, rtol=1e-4)


def test_only_the_surest_of_too_many_entities_are_given():
    task = made(drawn("weather", train=8, held_out=4), SpanEntities)
    task.scheme.most = 3  # and not before, as the labels would not come back
    scores = np.full((1, len(task.scheme.types), 6, 6), 1.0)
    scores[0, 0, 1, :3] = 2.0
    (found,) = task.scheme._taken(scores, task.places["train"][:1])
    assert [item[:2] for item, _ in found] == [(0, 1), (0, 2)]  # [CLS] is no text


def test_a_limit_takes_the_first_examples_of_each_part():
    corpus = drawn("weather", train=24, held_out=8)
    task = made(corpus, SpanEntities, limit=5)
    assert {name: len(own) for name, own in task.examples.items()} == dict.fromkeys(
        ("train", "valid", "test"), 5
    )
    assert task.examples["test"] == list(corpus.test)[:5]
    assert task.batch(0)["weight"].sum() == 5


@pytest.mark.parametrize("scheme", [EndsOfAnswers, SpansOfAnswers])
def test_hidden_questions_are_not_read(scheme):
    corpus = drawn("questions", train=4, held_out=4)
    task = made(corpus, partial(scheme, with_question=False))
    params, extras = jax.jit(task.init)(jax.random.key(0))
    other = [e._replace(question="Who?" + e.question) for e in corpus.test]
    again = made(corpus._replace(test=other), partial(scheme, with_question=False))
    texts = [[t.scheme.texts(e) for e in t.examples["test"]] for t in (task, again)]
    assert texts[0] == texts[1]
    assert len(task.predict(params, extras, texts[0])) == 4


def test_an_encoder_without_segments_is_not_given_any():
    corpus = drawn("weather", train=8, held_out=4)
    gpt = partial(families.gpt, features=16, layers=1, heads=2)
    model = partial(Extractor, reads_segments=False)
    task = made(corpus, SpanEntities, encoder=gpt, model=model)
    params, extras = jax.jit(task.init)(jax.random.key(0))
    assert np.isfinite(task.loss(params, extras, task.batch(0), None)[0])
    refused = made(corpus, SpanEntities, encoder=gpt)
    with pytest.raises(ValueError, match="segments must be None"):
        refused.loss(params, extras, task.batch(0), None)


def test_training_that_drops_features_needs_a_key():
    model = Extractor(
        encoder=partial(ENCODER, 9),
        head=partial(Tagger, tags=2),
        dropout_rate=0.1,
        rngs=nnx.Rngs(0),
    )
    tokens = np.zeros((1, 4), np.int32)
    with pytest.raises(ValueError, match="needs a key"):
        model(tokens, tokens == 0, train=True)


def test_entities_that_meet_are_taken_as_spans_and_missed_as_tags():
    text = "the bank of England pays"
    nested = Entities(text, (Span(4, 19, "firm"), Span(12, 19, "place")))
    corpus = Corpus([nested], [nested], [nested], {})
    spans, tags = made(corpus, SpanEntities), made(corpus, TagEntities)
    assert spans.notes["train/missed"] == 0
    assert tags.notes["train/missed"] == 1
    assert tags.scheme.labels(nested, tags.places["train"][0]).gold == {
        Entity(4, 19, "firm")
    }


def test_what_the_tokens_cannot_mark_is_counted_and_not_learned():
    text = "x" * 50 + " Bonn"
    long = Entities(text, (Span(51, 55, "place"), Span(0, 1, "x")))
    corpus = Corpus([long], [long], [long], {})
    cut = partial(Characters, least=1, length=20)
    task = made(corpus, SpanEntities, tokenizer=cut)
    assert task.notes["train/missed"] == 1
    assert task.notes["train/gold"] == 2


class Forgetful(SpanEntities):
    """Ends are taken for half-open, the classic fault."""

    def labels(self, example, places):
        found = super().labels(example, places)
        arrays = {"spans": found.arrays["spans"].copy()}
        arrays["spans"][..., 1] += arrays["spans"][..., 1] >= 0
        return found._replace(arrays=arrays)


def test_labels_that_do_not_come_back_are_refused_before_anything_is_trained():
    with pytest.raises(
        ValueError, match=r"does not come back from its labels"
    ) as caught:
        made(drawn("weather", train=4, held_out=2), Forgetful)
    assert "lost: [Entity(start=" in str(caught.value)
    empty = [Entities("nothing", ())]
    nothing = Corpus(empty, empty, empty, {})
    with pytest.raises(ValueError, match="examples must hold an entity"):
        made(nothing, SpanEntities)


def test_the_fingerprint_is_of_texts_labels_and_tokens():
    prints = [
        made(drawn("weather", train=8, held_out=4, seed=seed), scheme).fingerprint()
        for seed, scheme in ((0, SpanEntities), (0, SpanEntities), (1, SpanEntities))
    ]
    assert prints[0] == prints[1] != prints[2]


def test_triples_that_starts_and_ends_cannot_say_are_counted_as_missed():
    text = "abcdef"
    facts = [((1, 2), (4, 5)), ((1, 3), (4, 5)), ((3, 4), (0, 1)), ((3, 4), (0, 2))]
    triples = tuple(
        Triple(Span(*subject, "s"), "has", Span(*obj, "o")) for subject, obj in facts
    )
    corpus = Corpus(*[[Relations(text, triples)]] * 3, notes={})
    task = made(corpus, CascadedTriples)
    assert task.notes["train/gold"] == 4
    assert task.notes["train/missed"] == 2
    assert task.notes["train/invented"] == 0
    (facts,) = task.batch(0)["facts"][:1]
    assert (facts[:, 0] >= 0).sum() == 4  # all are learned
    made(corpus, LinkedTriples)  # and these say them all


@pytest.mark.parametrize("scheme", [EndsOfAnswers, SpansOfAnswers])
def test_of_several_answers_one_is_drawn_in_each_step(scheme):
    answers = Answer(0, "ab"), Answer(3, "d")
    rows = [
        Question("0", "which?", "abcdef", answers),
        Question("1", "who?", "abcdef", answers[1:]),
        Question("2", "where?", "abcdef", ()),
    ]
    task = made(Corpus(rows, rows, rows, {}), scheme)
    assert task.notes["train/gold"] == 3
    assert task.notes["train/missed"] == 0
    batch = task.sets["train"].padded([0, 1, 2])
    params, extras = jax.jit(task.init)(jax.random.key(0))
    ends = [task.places["train"][0].tokens(0, 2), task.places["train"][0].tokens(3, 4)]
    assert {*map(tuple, batch["answers"][0].tolist())} == {*ends, (-1, -1)}

    def alone(end):  # the loss with one answer to the first question
        own = batch["answers"].copy()
        own[0] = -1
        own[0, 0] = end
        return loss(params, {**batch, "answers": own}, None)

    loss = jax.jit(lambda p, b, rng: task.loss(p, extras, b, rng)[0])
    want = [float(alone(end)) for end in ends]
    got = [float(loss(params, batch, jax.random.key(n))) for n in range(20)]
    nearest = np.abs(np.subtract.outer(got, want))
    np.testing.assert_allclose(nearest.min(axis=1), 0.0, atol=1e-5)
    assert {*nearest.argmin(axis=1).tolist()} == {0, 1}
    assert float(loss(params, batch, None)) == pytest.approx(want[0], rel=1e-6)
