import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kexue_jax.optim import average_weights


def trajectory(decay, steps, dtype=jnp.float32):
    """Weights and averages of a few steps, and the transform's own."""
    tx = optax.chain(optax.sgd(0.1), average_weights(decay))

    @jax.jit
    def step(params, state, number):
        grads = {"w": (params["w"] * (number + 1)).astype(dtype), "n": jnp.array(0)}
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates | {"n": jnp.array(1)}), state

    params = {"w": np.array([1.0, -2.0], dtype), "n": np.array(3, np.int32)}
    state, seen = jax.jit(tx.init)(params), [params["w"]]
    for number in range(steps):
        params, state = step(params, state, number)
        seen.append(params["w"])
    return seen, state[1]


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99])
def test_the_average_is_the_formula(decay):
    seen, state = trajectory(decay, 12)
    want = np.asarray(seen[0], np.float64)
    for step, weights in enumerate(seen[1:], 1):
        keep = min(decay, step / (step + 9))
        want = keep * want + (1 - keep) * np.asarray(weights, np.float64)
    np.testing.assert_allclose(state.average["w"], want, rtol=1e-6)
    assert int(state.count) == 12


def test_no_decay_is_the_last_weights_and_what_is_not_floating_is_the_latest():
    seen, state = trajectory(0.0, 5)
    np.testing.assert_array_equal(state.average["w"], seen[-1])
    assert state.average["n"].dtype == jnp.int32


def test_the_average_of_bfloat16_weights_is_float32():
    _, state = trajectory(0.9, 3, jnp.bfloat16)
    assert state.average["w"].dtype == jnp.float32


def test_updates_pass_unchanged_and_the_first_average_shares_no_buffer():
    params = {"w": jnp.ones(3)}
    tx = average_weights(0.9)
    state = tx.init(params)
    assert state.average["w"].unsafe_buffer_pointer() != (
        params["w"].unsafe_buffer_pointer()
    )
    updates, _ = jax.jit(tx.update)({"w": np.full(3, 0.5)}, state, params)
    np.testing.assert_array_equal(updates["w"], np.full(3, 0.5))


def test_a_decay_of_one_and_missing_params_are_refused():
    with pytest.raises(ValueError, match=r"decay must be in \[0, 1\), got 1"):
        average_weights(1)
    tx = average_weights()
    with pytest.raises(ValueError, match="params"):
        jax.eval_shape(lambda x: tx.update(x, tx.init(x)), {"w": jnp.float32(1)})
