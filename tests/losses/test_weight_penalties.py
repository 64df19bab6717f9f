import jax
import numpy as np
import optax
import pytest

from kexue_jax.losses.weight_penalties import l2_penalty, weissi_penalty
from kexue_jax.optim import add_weissi


def plain(params, extras, batch, rng):
    del rng
    value = sum(jax.numpy.sum(batch * x) for x in jax.tree.leaves(params))
    return value, (extras, {"loss": value})


def weights():
    rng = np.random.default_rng(0)
    shapes = {"kernel": (4, 3), "bias": (3,), "scale": (3,), "table": (5, 3)}
    return {n: rng.normal(size=s).astype(np.float32) for n, s in shapes.items()}


def found(loss, params, slope=0.5):
    both = jax.jit(jax.value_and_grad(loss, has_aux=True))
    return jax.device_get(both(params, {}, np.float32(slope), None))


def test_l2_is_half_the_squares_of_weights_and_decay_under_plain_descent():
    params = weights()
    (value, (_, scores)), slopes = found(l2_penalty(plain, weight=0.2), params)
    square = sum(np.sum(np.float64(params[n]) ** 2) for n in ("kernel", "table"))
    assert scores["penalty"] == pytest.approx(0.1 * square, rel=1e-6)
    assert value == pytest.approx(float(scores["loss"]) + 0.1 * square, rel=1e-5)
    for name, x in params.items():
        more = 0.2 * x if name in ("kernel", "table") else 0.0
        np.testing.assert_allclose(slopes[name], 0.5 + more, rtol=1e-6)
    decay = optax.add_decayed_weights(0.2, {n: x.ndim == 2 for n, x in params.items()})
    ones = jax.tree.map(lambda x: np.full_like(x, 0.5), params)
    decayed, _ = decay.update(ones, decay.init(params), params)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), slopes, decayed
    )


def test_l2_alone_moves_adam_by_signs_and_decay_moves_adamw_in_proportion():
    params = weights()
    _, slopes = found(l2_penalty(plain, weight=0.2), params, slope=0.0)
    adam = optax.adam(0.01, b1=0.0, b2=0.0, eps=0.0)
    step, _ = adam.update(slopes, adam.init(params), params)
    np.testing.assert_allclose(
        step["kernel"], -0.01 * np.sign(params["kernel"]), rtol=1e-6
    )
    adamw = optax.adamw(0.01, weight_decay=0.2)
    zero = jax.tree.map(np.zeros_like, params)
    step, _ = adamw.update(zero, adamw.init(params), params)
    np.testing.assert_allclose(step["kernel"], -0.002 * params["kernel"], rtol=1e-5)


def test_weissi_as_a_loss_and_as_a_transform_are_the_same():
    params, options = weights(), dict(norm=0.3, direction=0.02)
    (value, (_, scores)), slopes = found(weissi_penalty(plain, **options), params)
    kernel = np.float64(params["kernel"])
    size = np.linalg.norm(kernel)
    want = 0.3 * np.log(size) + 0.02 * np.abs(kernel).sum() / size
    assert scores["penalty"] == pytest.approx(want, rel=1e-5)
    assert value == pytest.approx(float(scores["loss"]) + want, rel=1e-5)
    tx = add_weissi(**options)
    ones = jax.tree.map(lambda x: np.full_like(x, 0.5), params)
    added, _ = jax.jit(tx.update)(ones, tx.init(params), params)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), slopes, added
    )
    for name in ("bias", "scale", "table"):
        np.testing.assert_array_equal(added[name], ones[name])


@pytest.mark.parametrize(
    ("make", "options", "match"),
    [
        (l2_penalty, dict(weight=-1.0), "weight must not be negative, got -1.0"),
        (weissi_penalty, dict(norm=-1.0), "norm must not be negative, got -1.0"),
        (weissi_penalty, dict(norm=1.0, floor=0.0), "floor must be positive, got 0.0"),
        (weissi_penalty, dict(norm=1.0, stacked=-1), "stacked must not be negative"),
    ],
)
def test_numbers_out_of_range_are_refused(make, options, match):
    with pytest.raises(ValueError, match=match):
        make(plain, **options)


def test_losses_of_parts_are_refused():
    def parts(params, extras, batch, rng):
        return np.ones(2), (extras, {})

    with pytest.raises(ValueError, match="takes a loss of one number"):
        l2_penalty(parts, weight=1.0)(weights(), {}, {}, None)
