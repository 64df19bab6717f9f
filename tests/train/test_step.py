import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kexue_jax.train.step import culprits, init_state, make_step


class Line:
    """Fits a line to tokens that count or do not."""

    def __init__(self, objectives=1):
        self.objectives = objectives

    def init(self, rng):
        params = {"w": jax.random.normal(rng, (3,)), "b": jnp.zeros(())}
        return params, {"seen": jnp.zeros(()), "mean": jnp.zeros((3,))}

    def loss(self, params, extras, batch, rng):
        guess = batch["x"] @ params["w"].astype(batch["x"].dtype) + params["b"]
        weight = jnp.sum(batch["mask"])
        errors = jnp.square(guess - batch["y"]) * batch["mask"]
        loss = jnp.sum(errors) / weight
        if self.objectives > 1:
            loss = jnp.stack([loss * (i + 1) for i in range(self.objectives)])
        extras = {"seen": extras["seen"] + 1, "mean": jnp.mean(batch["x"], axis=0)}
        return loss, (extras, {"mse": jnp.sum(errors) / weight, "weight": weight})


def batch(rows=8):
    x = np.random.default_rng(0).normal(size=(rows, 3)).astype(np.float32)
    mask = (np.arange(rows) % 3 != 0).astype(np.float32)
    return {"x": x, "y": np.sum(x, axis=1), "mask": mask}


def made(task=None, tx=None, **options):
    task, tx = task or Line(), tx or optax.sgd(0.1)
    step = jax.jit(make_step(task, tx, seed=0, **options))
    return step, init_state(task, tx, 0)


@pytest.mark.parametrize("parts", [2, 4, 8])
def test_parts_of_a_batch_weighed_by_tokens_equal_the_whole(parts):
    rows = batch()
    rows["mask"] = np.ones(8, np.float32) if parts == 8 else rows["mask"]
    whole, state = made()
    split, _ = made(micro_batches=parts)
    (one, scores), (other, same) = whole(state, rows), split(state, rows)
    for name in ("loss", "mse", "weight", "grad_norm"):
        np.testing.assert_allclose(same[name], scores[name], rtol=1e-6)
    for name, leaf in one.params.items():
        np.testing.assert_allclose(other.params[name], leaf, rtol=1e-6, atol=1e-6)


def test_a_part_that_weighs_nothing_adds_not_even_a_nan():
    rows = batch()
    rows["mask"] = (np.arange(8) % 2 == 0).astype(np.float32)
    whole, state = made()
    split, _ = made(micro_batches=2)  # the second part is the odd rows: 0 / 0
    (one, _), (other, scores) = whole(state, rows), split(state, rows)
    assert int(scores["nonfinite"]) == -1
    np.testing.assert_allclose(other.params["w"], one.params["w"], rtol=1e-6)


def test_several_objectives_give_gradients_with_a_leading_axis():
    shapes = []

    def update(grads, state, params=None):
        shapes.append(grads["w"].shape)
        return jax.tree.map(lambda g: -0.1 * jnp.sum(g, axis=0), grads), state

    merge = optax.GradientTransformation(lambda params: optax.EmptyState(), update)
    rows = batch()
    step, state = made(Line(objectives=3), merge)
    after, scores = step(state, rows)
    assert shapes == [(3, 3)]
    single, same = made(tx=optax.sgd(0.6))  # 1 + 2 + 3 times the gradient
    want, _ = single(same, rows)
    np.testing.assert_allclose(after.params["w"], want.params["w"], rtol=1e-5)
    np.testing.assert_allclose(scores["loss"], 6 * float(scores["mse"]), rtol=1e-6)


def test_objectives_that_nobody_merges_are_refused():
    step, state = made(Line(objectives=3))
    with pytest.raises(ValueError, match="did no transform merge the objectives"):
        step(state, batch())


@pytest.mark.parametrize("parts", [1, 2])
def test_an_update_that_is_not_finite_leaves_every_bit(parts):
    rows = batch()
    rows["x"][1, 1] = np.nan
    step, state = made(tx=optax.adam(0.1), max_skips=3, micro_batches=parts)
    after, scores = jax.device_get(step(state, rows))
    kept = jax.tree.map(
        lambda a, b: np.array_equal(a, b),
        (after.params, after.opt_state, after.extras),
        (state.params, state.opt_state, state.extras),
    )
    assert all(jax.tree.leaves(kept))
    assert (after.step, after.counters["skipped"]) == (1, 1)
    assert culprits(state)[int(scores["nonfinite"])] == "loss"


def test_a_gradient_that_is_not_finite_is_named():
    class Root(Line):
        def loss(self, params, extras, batch, rng):
            root = jnp.sqrt(jnp.abs(params["b"]))  # its slope at 0 is infinite
            return root + jnp.sum(params["w"]), (extras, {})

    step, state = made(Root(), max_skips=1)
    _, scores = step(state, batch())
    assert culprits(state)[int(scores["nonfinite"])] == "gradient of b"


def test_after_max_skips_the_state_is_frozen_with_its_step():
    good = batch()
    bad = good | {"x": np.full_like(good["x"], np.nan)}
    step, state = made(max_skips=2)
    for expected in (1, 2, 2):
        state, _ = step(state, bad)
        assert int(state.step) == expected
    state, _ = jax.device_get(step(state, good))
    assert (state.step, state.counters["skipped_in_row"]) == (2, 3)
    step, state = made(max_skips=2)
    for rows in (bad, bad, good, bad):
        state, _ = jax.device_get(step(state, rows))
    assert (state.step, state.counters["skipped_in_row"]) == (4, 1)


def test_bfloat16_inside_the_loss_keeps_float32_params():
    seen = []

    class Spy(Line):
        def loss(self, params, extras, batch, rng):
            seen.append((params["w"].dtype, batch["x"].dtype))
            return super().loss(params, extras, batch, rng)

    step, state = made(Spy(), compute_dtype=jnp.bfloat16)
    after, scores = step(state, batch())
    assert all(dtype == jnp.bfloat16 for dtypes in seen for dtype in dtypes)
    assert seen
    assert after.params["w"].dtype == scores["loss"].dtype == jnp.float32
    assert not np.array_equal(after.params["w"], state.params["w"])


def test_extras_that_change_their_shape_are_refused():
    class Growing(Line):
        def loss(self, params, extras, batch, rng):
            loss, (extras, scores) = super().loss(params, extras, batch, rng)
            return loss, (extras | {"mean": jnp.zeros((4,))}, scores)

    step, state = made(Growing())
    with pytest.raises(ValueError, match=r"mean: float32\[4\] instead of float32\[3\]"):
        step(state, batch())


def test_wraps_are_applied_in_order():
    def scale_and_add(factor, term):
        def wrap(loss):
            def wrapped(params, extras, batch, rng):
                value, rest = loss(params, extras, batch, rng)
                return factor * value + term, rest

            return wrapped

        return wrap

    step, state = made(wrap=[scale_and_add(2.0, 0.0), scale_and_add(1.0, 5.0)])
    _, scores = step(state, batch())
    np.testing.assert_allclose(scores["loss"], 2 * float(scores["mse"]) + 5, rtol=1e-6)


def test_rows_that_micro_batches_do_not_divide_are_refused():
    step, state = made(micro_batches=3)
    with pytest.raises(ValueError, match="does not divide the 8 rows"):
        step(state, batch())


def test_a_step_is_the_same_function_of_its_number_each_time():
    class Noisy(Line):
        def loss(self, params, extras, batch, rng):
            loss, rest = super().loss(params, extras, batch, rng)
            return loss + jax.random.normal(rng), rest

    rows = batch()
    step, state = made(Noisy())
    one, _ = step(state, rows)
    first, again, second = (
        jax.device_get(step(start, rows)[1]) for start in (state, state, one)
    )
    assert first["loss"] == again["loss"]
    assert first["loss"] - first["mse"] != second["loss"] - second["mse"]
