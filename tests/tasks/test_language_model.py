from functools import partial
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kexue_jax.data.prose import Prose
from kexue_jax.data.tokenization import BytePairTokenizer, byte_tokens
from kexue_jax.data.windows import tiles, windows
from kexue_jax.exhibits import Curves, Table, Text
from kexue_jax.nn.attention import SelfAttention
from kexue_jax.nn.transformer import Transformer
from kexue_jax.position.rotary import rotary
from kexue_jax.tasks.language_model import LanguageModel

TRAIN = "the cat sat on the mat.\n\na bat and a rat ran at the cat.\n" * 6
VALID = "the rat sat on the bat é.\n\nthe mat and a cat."


def make(dropout_rate=0.0, tokenizer=byte_tokens, **options):
    model = partial(
        Transformer,
        features=8,
        layers=1,
        hidden=16,
        mixer=partial(SelfAttention, heads=1, head_size=8, position=rotary),
        dropout_rate=dropout_rate,
    )
    settings: dict[str, Any] = dict(
        text=Prose((TRAIN,), VALID),
        tokenizer=tokenizer,
        source=partial(windows, batch=4, length=16, seed=0),
        held_out=partial(tiles, length=16, stride=8, batch=3),
        model=model,
        window=16,
        prompts=("the cat", "a"),
        longest_ngram=4,
    )
    task = LanguageModel(**{**settings, **options})
    task.init, task.loss = jax.jit(task.init), jax.jit(task.loss)
    return task


@pytest.fixture(scope="module")
def task():
    return make()


def test_two_halves_combined_by_weight_equal_the_whole_batch(task, keys):
    params, extras = jax.jit(task.init)(next(keys))
    batch = task.batch(0)
    batch["weight"][0, 3:] = 0.0
    batch["weight"][2] = 0.0
    whole, (_, scores) = jax.device_get(task.loss(params, extras, batch, None))
    halves = [jax.tree.map(lambda x, n=n: x[2 * n : 2 * n + 2], batch) for n in (0, 1)]
    parts = [jax.device_get(task.loss(params, extras, half, None)) for half in halves]
    weights = [part[1][1]["weight"] for part in parts]
    mean = sum(w * part[0] for w, part in zip(weights, parts, strict=True))
    assert scores["weight"] == sum(weights) == 35.0
    np.testing.assert_allclose(mean / sum(weights), whole, rtol=1e-6)


def test_the_loss_is_the_mean_of_negative_logarithms(task, keys):
    params, extras = jax.jit(task.init)(next(keys))
    batch = task.batch(1)
    batch["weight"][:, ::2] = 0.0
    loss, (_, scores) = task.loss(params, extras, batch, None)
    logits, _ = jax.jit(task.apply)(params, extras, batch["tokens"][:, :-1])
    logits = np.asarray(logits, np.float64)
    logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    picked = np.take_along_axis(logs, batch["tokens"][:, 1:, None], -1)[..., 0]
    want = -np.sum(picked * batch["weight"]) / batch["weight"].sum()
    np.testing.assert_allclose(loss, want, rtol=1e-5)
    assert loss.dtype == jnp.float32
    assert all(jnp.shape(score) == () for score in scores.values())


def test_a_batch_without_weight_has_loss_zero_and_finite_gradients(task, keys):
    params, extras = jax.jit(task.init)(next(keys))
    batch = task.batch(0)
    batch["weight"][:] = 0.0
    both = jax.jit(jax.value_and_grad(lambda p: task.loss(p, extras, batch, None)[0]))
    loss, grads = both(params)
    assert float(loss) == 0.0
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))


def test_dropout_follows_the_key_and_is_off_without_one(keys):
    task = make(dropout_rate=0.5)
    params, extras = jax.jit(task.init)(next(keys))
    one, two = next(keys), next(keys)
    losses = [
        float(task.loss(params, extras, task.batch(0), rng)[0])
        for rng in (None, None, one, one, two)
    ]
    assert losses[0] == losses[1]
    assert losses[2] == losses[3]
    assert len(set(losses)) == 3


def test_bfloat16_params_give_a_float32_loss_near_the_other(task, keys):
    params, extras = jax.jit(task.init)(next(keys))
    half = jax.tree.map(lambda leaf: np.asarray(leaf).astype(jnp.bfloat16), params)
    got, want = (task.loss(p, extras, task.batch(0), None)[0] for p in (half, params))
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, want, rtol=2e-2)


@pytest.mark.parametrize("tokenizer", [byte_tokens, None])
def test_a_model_that_knows_nothing_needs_its_vocabulary_in_bits(keys, tokenizer):
    learned = partial(BytePairTokenizer, vocabulary=300)
    task = make(tokenizer=tokenizer or learned)
    params, extras = jax.jit(task.init)(next(keys))
    params = params | {"vocabulary": jax.tree.map(np.zeros_like, params["vocabulary"])}
    size = len(task.tokenizer.encode(VALID))
    want = size * np.log2(task.tokenizer.vocabulary) / len(VALID.encode())
    got = task.evaluate(params, extras)["valid/bits_per_byte"]
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_training_lowers_the_held_out_bits_below_eight_and_gzip(task, keys):
    params, extras = jax.jit(task.init)(next(keys))
    tx = optax.adam(3e-2)
    opt_state = jax.jit(tx.init)(params)

    @jax.jit
    def step(params, opt_state, batch):
        grads = jax.grad(lambda p: task.loss(p, extras, batch, None)[0])(params)
        updates, opt_state = tx.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    before = task.evaluate(params, extras)
    for index in range(60):
        params, opt_state = step(params, opt_state, task.batch(index))
    after = task.evaluate(params, extras)
    assert after["valid/bits_per_byte"] < 0.6 * before["valid/bits_per_byte"]
    assert after["valid/bits_per_byte"] < after["gzip/bits_per_byte_alone"]
    assert after["ngram/bits_per_byte"] == before["ngram/bits_per_byte"]


def test_the_order_of_the_ngrams_does_not_look_at_the_held_out_text():
    one = make().baselines["ngram/order"]
    two = make(text=Prose((TRAIN,), "zzzzzzzzzzzz" * 5)).baselines["ngram/order"]
    assert one == two


def test_exhibits_are_a_table_a_curve_and_samples(task, keys):
    params, extras = jax.jit(task.init)(next(keys))
    table, curve, samples = task.exhibits(params, extras)
    assert isinstance(table, Table)
    assert isinstance(curve, Curves)
    assert isinstance(samples, Text)
    assert len(samples.items) == 4
    assert all(text.startswith(("the cat", "a")) for _, text in samples.items)
    own = task.evaluate(params, extras)["valid/bits_per_byte"]
    assert table.rows[0][1] == round(own, 4)
    assert np.isfinite(curve.series[0].y).all()


def test_samples_are_compiled_once_for_all_prompts(task, keys):
    params, extras = jax.jit(task.init)(next(keys))
    prompts = ["a", "the cat sat", "", "long " * 20, "b", "c"]
    made = task.predict(params, extras, prompts)
    assert len(made) == len(prompts)
    assert made == task.predict(params, extras, prompts)
    assert task._fill._cache_size() == 1


def test_predict_of_no_prompts_is_empty(task, keys):
    assert task.predict(*jax.eval_shape(task.init, next(keys)), []) == []


def test_the_fingerprint_changes_with_the_text_and_with_the_tokens(task):
    other = make(text=Prose((TRAIN,), VALID + "!"))
    learned = make(tokenizer=partial(BytePairTokenizer, vocabulary=280))
    prints = [t.fingerprint() for t in (task, other, learned)]
    assert prints[0] == make().fingerprint()
    assert prints[0]["valid_sha256"] != prints[1]["valid_sha256"]
    assert prints[0]["tokenizer_sha256"] != prints[2]["tokenizer_sha256"]
    assert all(isinstance(v, str | int) for p in prints for v in p.values())


def test_trains_on_words_that_change_their_tokens(keys):
    task = make(
        tokenizer=partial(BytePairTokenizer, vocabulary=280),
        source=partial(windows, batch=2, length=8, seed=0),
    )
    params, extras = jax.jit(task.init)(next(keys))
    loss, _ = task.loss(params, extras, task.batch(0), next(keys))
    assert np.isfinite(loss)


def test_a_text_needs_only_its_parts_and_a_fingerprint():
    text = SimpleNamespace(parts=[TRAIN], valid=VALID, fingerprint=dict)
    assert make(text=text).fingerprint()["vocabulary"] == 256
