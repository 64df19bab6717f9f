import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kexue_jax.optim import (
    clip_by_loss_change,
    scale_by_l0l1,
    smooth_clip_by_global_norm,
    smooth_clip_by_norm,
)

SCALES = np.array([1e-12, 1e-3, 0.5, 1.0, 2.0, 1e3, 1e15], np.float32)


def tree(seed=0):
    draws = np.random.default_rng(seed)
    return {"w": draws.normal(size=(2, 3, 4)), "b": draws.normal(size=4)}


def norm_of(grads):
    return np.sqrt(sum(np.sum(np.float64(g) ** 2) for g in jax.tree.leaves(grads)))


def once(tx, grads, **extra):
    tx = optax.with_extra_args_support(tx)
    update = jax.jit(lambda g, extra: tx.update(g, tx.init(g), **extra)[0])
    return jax.device_get(update(grads, extra))


@pytest.mark.parametrize("per", ["tree", "block", "unit"])
def test_smooth_clipping_and_the_step_of_l0_l1_are_their_formulas(per):
    grads = tree()

    def norms():
        if per == "tree":
            return jax.tree.map(lambda _: norm_of(grads), grads)
        if per == "block":
            return jax.tree.map(norm_of, grads)
        units = np.sqrt(np.sum(grads["w"] ** 2, axis=(0, 1), keepdims=True))
        return {"w": units, "b": norm_of(grads["b"])}

    def both(g):
        ways = (smooth_clip_by_norm(0.7, per=per), scale_by_l0l1(2.0, 3.0, per=per))
        return [tx.update(g, tx.init(g))[0] for tx in ways]

    with jax.enable_x64(True):
        clipped, stepped = jax.device_get(jax.jit(both)(grads))
    for name, norm in norms().items():
        want = grads[name] * 0.7 / (norm + 0.7)
        np.testing.assert_allclose(clipped[name], want, rtol=1e-12)
        want = grads[name] / (2.0 + 3.0 * norm)
        np.testing.assert_allclose(stepped[name], want, rtol=1e-12)


def test_smooth_clipping_lies_between_half_of_hard_clipping_and_all_of_it():
    grads = jax.tree.map(lambda g: (g / norm_of(tree())).astype(np.float32), tree())
    soft_tx, hard_tx = smooth_clip_by_global_norm(1.0), optax.clip_by_global_norm(1.0)

    def lengths(scale):
        g = jax.tree.map(lambda x: x * scale, grads)
        both = [tx.update(g, tx.init(g))[0] for tx in (soft_tx, hard_tx)]
        cosine = optax.tree.vdot(both[0], grads) / optax.tree.norm(both[0])
        return *map(optax.tree.norm, both), cosine

    soft, hard, cosine = jax.device_get(jax.jit(jax.vmap(lengths))(SCALES))
    slack = 1e-6 * hard
    assert (soft <= hard + slack).all()
    assert (soft >= hard / 2 - slack).all()
    assert (soft <= 1 + 1e-6).all()
    np.testing.assert_allclose(cosine, 1.0, rtol=1e-5)
    np.testing.assert_allclose(hard, np.minimum(SCALES, 1.0), rtol=1e-5)


def test_an_update_can_be_differentiated_at_zero():
    zero = {"w": np.zeros((3, 2), np.float32), "b": np.zeros(2, np.float32)}

    def total(g):
        found = 0.0
        for per in ("tree", "block", "unit"):
            for tx in (smooth_clip_by_norm(per=per), scale_by_l0l1(1.0, 1.0, per=per)):
                updates, _ = tx.update(g, tx.init(g))
                found += sum(jnp.sum(u) for u in jax.tree.leaves(updates))
        return found

    for slope in jax.tree.leaves(jax.jit(jax.grad(total))(zero)):
        np.testing.assert_array_equal(slope, np.full(slope.shape, 6.0))


def test_norms_of_bfloat16_are_summed_in_float32():
    grads = np.full(10_000, 0.01, jnp.bfloat16)
    got = once(smooth_clip_by_global_norm(1.0), grads)
    assert got.dtype == jnp.bfloat16
    want = np.float64(grads[0]) / (norm_of(grads) + 1)
    np.testing.assert_allclose(np.float64(got), want, rtol=1e-2)


def test_fewer_steps_than_any_tuned_rate_where_curvature_grows():
    """x^4 from starts in [5, 10] to a gradient of 1e-3; L1 = 1 and L0 = 16."""
    starts = np.random.default_rng(0).uniform(5, 10, 200)
    tx = scale_by_l0l1(16.0, 1.0)

    def count(step):
        def go(x):
            def body(carry):
                x, steps = carry
                return x - step(4 * x**3), steps + 1

            def far(carry):
                return (jnp.abs(4 * carry[0] ** 3) > 1e-3) & (carry[1] < 100_000)

            return jax.lax.while_loop(far, body, (x, 0))[1]

        return jax.vmap(go)

    def clipped(g):
        return tx.update(g, tx.init(g))[0]

    rates = np.array([0.5, 0.999]) / 200  # of those that are stable from 10
    with jax.enable_x64(True):
        ours, fixed = jax.jit(
            lambda x: (
                count(clipped)(x).mean(),
                jax.lax.map(lambda r: count(lambda g: r * g)(x).mean(), rates).min(),
            )
        )(starts)
    np.testing.assert_allclose(float(ours), 507, rtol=0.01)
    np.testing.assert_allclose(float(fixed), 6213, rtol=0.05)


def test_a_step_that_changes_the_loss_too_much_is_cut_and_one_uphill_is_not():
    step, grad = tree(0), tree(1)
    product = sum(np.vdot(step[n], grad[n]) for n in step)
    sign = np.sign(product)
    downhill = jax.tree.map(lambda u: u * sign, step)
    limit = abs(product) / 4
    with jax.enable_x64(True):
        cut = once(clip_by_loss_change(limit), downhill, grad=grad)
        kept = once(clip_by_loss_change(10 * limit), downhill, grad=grad)
        uphill = jax.tree.map(np.negative, downhill)
        left = once(clip_by_loss_change(limit), uphill, grad=grad)
    np.testing.assert_allclose(cut["w"], downhill["w"] / 4, rtol=1e-12)
    np.testing.assert_array_equal(kept["w"], downhill["w"])
    np.testing.assert_array_equal(left["w"], uphill["w"])


def test_the_loss_change_of_a_masked_part_is_its_own():
    step, grad = tree(0), jax.tree.map(np.copy, tree(0))
    tx = optax.masked(clip_by_loss_change(0.5), {"w": False, "b": True})
    got = once(tx, step, grad=grad)
    square = np.sum(np.float32(grad["b"]) ** 2)
    np.testing.assert_allclose(got["b"], step["b"] * 0.5 / square, rtol=1e-5)
    np.testing.assert_allclose(got["w"], step["w"], rtol=1e-6)


def test_arguments_out_of_range_and_a_missing_gradient_are_refused():
    for make, message in (
        (lambda: smooth_clip_by_norm(0.0), "gamma must be positive, got 0.0"),
        (lambda: smooth_clip_by_norm(per="leaf"), "per must be 'tree', 'block'"),
        (lambda: scale_by_l0l1(0.0, 1.0), "l0 must be positive, got 0.0"),
        (lambda: scale_by_l0l1(1.0, -1.0), "l1 must be at least 0, got -1.0"),
        (lambda: clip_by_loss_change(0.0), "limit must be positive, got 0.0"),
        (lambda: once(clip_by_loss_change(), tree()), "needs the gradient"),
    ):
        with pytest.raises(ValueError, match=message):
            make()


SMOOTH = {  # value, slope and curvature; (L0, L1); where curvature is looked at
    "quartic": (lambda x: x**4, lambda x: 4 * x**3, lambda x: 12 * x**2, (4.0, 2.0), 9),
    "cosh": (np.cosh, np.sinh, np.cosh, (1.0, 1.0), 9),
    "exp": (np.exp, np.exp, np.exp, (0.0, 1.0), 9),
    "extremal": (
        lambda x: np.expm1(np.abs(2 * x)) - np.abs(2 * x),
        lambda x: 2 * np.sign(x) * np.expm1(np.abs(2 * x)),
        lambda x: 4 * np.exp(np.abs(2 * x)),
        (4.0, 2.0),
        3,
    ),
}


@pytest.mark.parametrize("name", list(SMOOTH))
def test_the_step_of_l0_l1_makes_a_loss_fall_by_what_is_promised(name):
    value, slope, curvature, (l0, l1), reach = SMOOTH[name]
    x = np.linspace(-reach, reach, 200_001)
    np.testing.assert_allclose(
        np.max(curvature(x) - l1 * np.abs(slope(x))), l0, rtol=1e-6, atol=1e-9
    )
    x = np.linspace(-reach, reach, 2001)
    g, floor = slope(x), max(l0, 1e-9)
    tx = scale_by_l0l1(floor, l1, per="unit")
    with jax.enable_x64(True):
        step = np.asarray(jax.vmap(lambda g: tx.update(g, tx.init(g))[0])(g))
    promised = (3 - np.e) * g**2 / (floor + l1 * np.abs(g))
    assert (value(x) - value(x - step) >= promised * (1 - 1e-9) - 1e-12).all()
