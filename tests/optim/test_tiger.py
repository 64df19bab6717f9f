import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kexue_jax.optim import scale_by_sign_momentum, tiger

PARAMS = {
    "norm": {"scale": (4,), "bias": (4,)},
    "tokens": {"embedding": (5, 4)},
    "dense": {"kernel": (4, 3)},
}
ROLES = {
    "norm": {"scale": "gain", "bias": "bias"},
    "tokens": {"embedding": "embedding"},
    "dense": {"kernel": "matrix"},
}


def draw(seed, lead=()):
    draws = np.random.default_rng(seed)
    return jax.tree.map(
        lambda s: draws.normal(size=(*lead, *s)),
        PARAMS,
        is_leaf=lambda x: isinstance(x, tuple),
    )


def rms(x, axis=None):
    return np.sqrt(np.mean(x**2, axis=axis, keepdims=True))


def slow_tiger(grads, theta, role, rate, beta, decay, every):
    """One leaf of Tiger in float64, with the gradients of `every` steps averaged."""
    m, seen, theta = np.zeros_like(theta), [], theta.copy()
    for start in range(0, len(grads), every):
        part = grads[start : start + every]
        seen += [theta] * (every - 1)
        if np.isnan(part).any():
            centre = 1.0 if role == "gain" else 0.0
            theta = (theta - centre) * 0.99 + centre
        else:
            m = beta * m + (1 - beta) * part.mean(axis=0)
            if role in ("gain", "bias"):
                theta = theta - 0.5 * rate * np.sign(m)
            else:
                size = rms(theta, -1 if role == "embedding" else None)
                theta = theta - rate * size * (np.sign(m) + decay * theta)
        seen.append(theta)
    return np.array(seen)


@pytest.mark.parametrize("every", [1, 5])
def test_tiger_is_the_formula_over_fifty_steps_group_by_group(trajectory, every):
    grads, start = draw(0, (50,)), draw(1)
    if every == 1:
        for leaf in jax.tree.leaves(grads):
            leaf[7].flat[0] = np.nan
    want = jax.tree.map(
        lambda g, p, role: slow_tiger(g, p, role, 0.02, 0.9, 0.1, every),
        grads,
        start,
        ROLES,
    )
    with jax.enable_x64(True):
        tx = tiger(0.02, 0.9, 0.1, every=every, min_rms=0.0)
        got, state = trajectory(tx, grads, start)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10), got, want)
    assert int(state.count) == 50


def test_sign_momentum_is_lion_with_equal_decays(trajectory):
    draws = np.random.default_rng(0)
    start = draws.normal(size=(4, 3)).astype(np.float32)
    grads = draws.normal(size=(50, 4, 3)).astype(np.float32)
    ours = optax.chain(scale_by_sign_momentum(0.9), optax.scale(-0.01))
    lion = optax.chain(optax.scale_by_lion(0.9, 0.9), optax.scale(-0.01))
    np.testing.assert_array_equal(
        trajectory(ours, grads, start)[0], trajectory(lion, grads, start)[0]
    )


def test_a_sign_of_zero_is_zero_and_of_nan_is_nan():
    tx = scale_by_sign_momentum(0.5)
    signs, _ = jax.jit(tx.update)(
        np.array([0.0, -0.0, np.nan, -3.0], np.float32),
        tx.init(np.zeros(4, np.float32)),
    )
    np.testing.assert_array_equal(signs, [0.0, 0.0, np.nan, -1.0])


def test_a_step_is_the_same_share_of_a_matrix_of_any_size(trajectory):
    grads, start = draw(0, (5,))["dense"], draw(1)["dense"]
    with jax.enable_x64(True):
        tx = tiger(0.1, weight_decay=0.0)
        small, _ = trajectory(tx, grads, start)
        large, _ = trajectory(tx, grads, {"kernel": 100 * start["kernel"]})
    np.testing.assert_allclose(large["kernel"], 100 * small["kernel"], rtol=1e-10)


def test_labels_may_be_given_and_weights_at_zero_can_leave_it(trajectory):
    start = {"w": np.zeros((2, 3), np.float32), "b": np.zeros(3, np.float32)}
    grads = jax.tree.map(lambda p: np.ones((1, *p.shape), np.float32), start)
    tx = tiger(1.0, labels={"w": "matrix", "b": "bias"}, min_rms=0.25)
    got, _ = trajectory(tx, grads, start)
    np.testing.assert_allclose(got["w"][0], -0.25)
    np.testing.assert_allclose(got["b"][0], -0.5)
    with pytest.raises(ValueError, match="labels must be among"):
        jax.eval_shape(
            lambda: trajectory(tiger(labels={"w": "weight", "b": "b"}), grads, start)
        )


def test_an_embedding_without_gradients_drifts_to_the_inverse_decay(trajectory):
    start = {"embedding": np.ones((1, 2), np.float32)}
    grads = {"embedding": np.zeros((2000, 1, 2), np.float32)}
    grads["embedding"][0] = [1e-3, -1e-3]
    got, _ = trajectory(tiger(0.5, 0.999, 0.1), grads, start)
    np.testing.assert_allclose(got["embedding"][-1], [[-10.0, 10.0]], rtol=0.05)


def test_arguments_out_of_range_and_missing_params_are_refused():
    for options, message in (
        (dict(beta=1.0), r"beta must be in \[0, 1\), got 1.0"),
        (dict(every=0), "every must be at least 1, got 0"),
        (dict(min_rms=-1.0), "min_rms must be at least 0"),
    ):
        with pytest.raises(ValueError, match=message):
            tiger(**options)
    tx = tiger()
    with pytest.raises(ValueError, match="tiger needs the params"):
        jax.eval_shape(lambda g: tx.update(g, tx.init(g)), jnp.float32(1))


def test_the_sizes_of_rows_stay_rows_when_compiled():
    params = {"embedding": jax.ShapeDtypeStruct((512, 256), jnp.float32)}
    tx = tiger(1e-2)

    def step(params, state, grads):
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    state = jax.eval_shape(tx.init, params)
    lowered = jax.jit(step, donate_argnums=(0, 1)).lower(params, state, params)
    assert lowered.compile().memory_analysis().temp_size_in_bytes < 512 * 256
