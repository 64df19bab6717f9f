import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kexue_jax.optim import adafactor, relative_step, scale_by_adafactor
from kexue_jax.optim.adafactor import factored_axes

SHAPES = {"matrix": (6, 4), "wide": (3, 8), "stack": (2, 5, 3), "vector": (4,)}


def draw(seed, lead=(), scale=1.0):
    draws = np.random.default_rng(seed)
    return {k: scale * draws.normal(size=(*lead, *s)) for k, s in SHAPES.items()}


def rms(x):
    return np.sqrt(np.mean(x**2))


def slow_adafactor(grads, theta, rate, power, clip, decay):
    """One leaf in float64: matrices by the loops of the post, stacks one by one."""
    seen, theta = [], theta.copy()
    stack = theta.shape if theta.ndim == 3 else (1, *theta.shape)
    rows, columns, whole = np.zeros(stack[:2]), np.zeros((stack[0], stack[-1])), 0.0
    for t, g in enumerate(grads, 1):
        beta = 1 - t**-power
        if theta.ndim == 1:
            whole = beta * whole + (1 - beta) * (g**2 + 1e-30)
            u = g / np.sqrt(whole)
        else:
            u = np.zeros(stack)
            for b, part in enumerate(g.reshape(stack)):
                rows[b] = beta * rows[b] + (1 - beta) * (part**2 + 1e-30).sum(1)
                columns[b] = beta * columns[b] + (1 - beta) * (part**2 + 1e-30).sum(0)
                u[b] = part / np.sqrt(np.outer(rows[b], columns[b]) / columns[b].sum())
            u = u.reshape(theta.shape)
        step = u / max(1.0, rms(u) / clip) * max(1e-3, rms(theta))
        theta = theta - rate * (step + decay * theta)
        seen.append(theta)
    return np.array(seen)


@pytest.mark.parametrize("power", [0.8, 1.0])
def test_adafactor_is_the_formula_over_fifty_steps(trajectory, power):
    grads, start = draw(0, (50,)), draw(1)
    want = {
        k: slow_adafactor(grads[k], start[k], 0.02, power, 0.7, 0.1) for k in SHAPES
    }
    options = dict(decay=power, weight_decay=0.1, clip=0.7, min_dim_size_to_factor=2)
    with jax.enable_x64(True):
        got, state = trajectory(adafactor(0.02, **options), grads, start)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10), got, want)
    assert int(state[0].count) == 50
    found, _ = trajectory(
        adafactor(0.02, **options), *jax.tree.map(np.float32, (grads, start))
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), found, want
    )


def test_it_is_that_of_optax_without_decay(trajectory):
    grads, start = (jax.tree.map(np.float32, draw(*x)) for x in ((2, (50,)), (3,)))
    ours, _ = trajectory(adafactor(0.02, min_dim_size_to_factor=2), grads, start)
    theirs = optax.adafactor(0.02, min_dim_size_to_factor=2)
    want, _ = trajectory(theirs, grads, start)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), ours, want
    )


def test_a_matrix_is_kept_as_its_margins_and_a_vector_whole():
    params = jax.tree.map(jnp.zeros_like, draw(0)) | {"none": None}
    state = scale_by_adafactor(min_dim_size_to_factor=2).init(params)
    rows, columns, whole = ({k: x[k] for k in SHAPES} for x in state[1:])
    none = dict.fromkeys(SHAPES)
    shapes = {"matrix": (1, 4), "wide": (3, 1), "stack": (2, 1, 3)}
    assert jax.tree.map(jnp.shape, rows) == none | shapes
    shapes = {"matrix": (6, 1), "wide": (1, 8), "stack": (2, 5, 1)}
    assert jax.tree.map(jnp.shape, columns) == none | shapes
    assert jax.tree.map(jnp.shape, whole) == none | {"vector": (4,)}
    assert factored_axes((127, 900)) is None
    assert factored_axes((128, 2, 900)) == (0, 2)
    assert factored_axes((0, 4), 0) is None


def test_squares_of_rank_one_are_kept_exactly():
    draws = np.random.default_rng(0)
    g = np.outer(draws.uniform(0.1, 10, 5), draws.uniform(0.1, 10, 3))
    g = {"a": (g * draws.choice([-1.0, 1.0], g.shape)).astype(np.float32)}
    tx = scale_by_adafactor(min_scale=None, min_dim_size_to_factor=2)
    update, _ = jax.jit(lambda g: tx.update(g, tx.init(g)))(g)
    np.testing.assert_allclose(update["a"], np.sign(g["a"]), rtol=1e-5)


def test_rows_without_gradient_stay_where_they_are():
    g = np.zeros((4, 3), np.float32)
    g[1] = [1e-6, -1e-6, 0.0]
    tx = scale_by_adafactor(min_dim_size_to_factor=2)

    def both(g):
        params = {"seen": jnp.ones((4, 3)), "none": jnp.ones((4, 3))}
        grads = {"seen": g, "none": jnp.zeros_like(g)}
        return tx.update(grads, tx.init(params), params)[0]

    update = jax.jit(both)(g)
    assert not update["none"].any()
    seen = np.asarray(update["seen"])
    assert np.isfinite(seen).all()
    assert not seen[[0, 2, 3]].any()
    assert seen[1, 0] > 0.1


def test_no_array_of_the_size_of_a_gradient_is_made():
    params = {"a": jax.ShapeDtypeStruct((256, 512), jnp.float32)}
    tx = adafactor(1e-2)

    def step(params, state, grads):
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    state = jax.eval_shape(tx.init, params)
    lowered = jax.jit(step, donate_argnums=(0, 1)).lower(params, state, params)
    assert lowered.compile().memory_analysis().temp_size_in_bytes < 256 * 512


def test_bfloat16_keeps_its_dtype_and_a_second_call_compiles_nothing():
    params = {"a": jnp.ones((4, 3), jnp.bfloat16)}
    tx = adafactor(1e-2, min_dim_size_to_factor=2, nu_dtype=jnp.float32)

    @jax.jit
    def step(params, state, grads):
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    state = tx.init(params)
    assert state[0].rows["a"].dtype == jnp.float32
    for _ in range(3):
        params, state = step(params, state, jax.tree.map(jnp.ones_like, params))
    assert params["a"].dtype == jnp.bfloat16
    assert state[0].columns["a"].dtype == jnp.float32
    assert step._cache_size() == 1


def test_the_rate_without_one_is_the_relative_step():
    params, grads = {"a": jnp.full(3, 2.0)}, {"a": jnp.ones(3)}
    for scale, size, factor in ((1e-3, 2.0, 1.0), (None, 1.0, 0.05)):
        tx = adafactor(min_scale=scale)
        update, _ = tx.update(grads, tx.init(params), params)
        want = -factor * size * float(relative_step()(0))
        np.testing.assert_allclose(update["a"], want, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (dict(decay=0.0), "decay"),
        (dict(decay=1.5), "decay"),
        (dict(eps=-1.0), "eps"),
        (dict(clip=0.0), "clip"),
        (dict(min_scale=-1.0), "min_scale"),
        (dict(min_dim_size_to_factor=0), "min_dim_size_to_factor"),
    ],
)
def test_arguments_out_of_range_are_refused(options, match):
    with pytest.raises(ValueError, match=match):
        scale_by_adafactor(**options)


def test_params_are_needed_for_their_size():
    tx, grads = scale_by_adafactor(), {"a": jnp.ones(3)}
    with pytest.raises(ValueError, match="needs the params"):
        tx.update(grads, tx.init(grads))


def test_rows_shared_by_devices_are_factored_all_the_same():
    draws = np.random.default_rng(0)
    params, grads = (draws.normal(size=(8, 6)).astype(np.float32) for _ in range(2))
    tx = scale_by_adafactor(min_dim_size_to_factor=2)

    def call(params, grads):
        state = tx.init(params)
        return state, *tx.update(grads, state, params)

    want = jax.jit(call)(params, grads)
    axis = jax.sharding.AxisType.Explicit
    mesh = jax.make_mesh((8,), ("x",), axis_types=(axis,))
    with jax.set_mesh(mesh):
        rows = jax.NamedSharding(mesh, jax.P("x"))
        got = jax.jit(call)(*jax.device_put((params, grads), rows))
    assert jax.tree.map(jax.typeof, got[0]) == jax.tree.map(jax.typeof, got[2])
    assert got[1].sharding.shard_shape(got[1].shape) == (1, 6)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5),
        *jax.device_get((got[1:], want[1:])),
    )
