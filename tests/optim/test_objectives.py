"""All merges of many objectives, beside slow float64 versions and in their symmetries.

One program holds them all, so that they compile once: three objectives, sixteen
parameters in a matrix, a vector and a scalar.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kexue_jax import optim
from kexue_jax.optim import objectives as many

K, SIZE = 3, 16
PRIORS = (2.3, 0.7, 1.1)
INNER = optax.sgd(0.1)
MERGES = {
    "aligned_mtl": optim.aligned_mtl(K),
    "cagrad": optim.cagrad(K),
    "constrained_mgda": optim.constrained_mgda(K, constraints=(2,)),
    "db_mtl": optim.db_mtl(K),
    "dynamic_weight_average": optim.dynamic_weight_average(K),
    "famo": optim.famo(INNER, K),
    "geometric": optim.generalized_mean_weights(K),
    "gradnorm": optim.gradnorm(K),
    "gradvac": optim.gradvac(K),
    "greatest": optim.generalized_mean_weights(K, power=float("inf")),
    "imtl_g": optim.imtl_g(K),
    "imtl_l": optim.imtl_l(K),
    "initial_loss_weights": optim.initial_loss_weights(K),
    "main_objective": optim.main_objective(K, main=1),
    "mgda": optim.mgda(K),
    "mgda_by_averaging": optim.mgda_by_averaging(K, steps=200),
    "mgda_by_frank_wolfe": optim.mgda_by_frank_wolfe(K, steps=200),
    "nash_mtl": optim.nash_mtl(K),
    "pcgrad": optim.pcgrad(K),
    "prior_loss_weights": optim.prior_loss_weights(PRIORS),
    "quadratic": optim.generalized_mean_weights(K, power=2.0),
    "random_loss_weights": optim.random_loss_weights(K),
    "real_time_loss_weights": optim.real_time_loss_weights(K),
    "sum": optim.sum_gradients(),
    "uncertainty_weights": optim.uncertainty_weights(K),
    "unit": optim.sum_unit_gradients(),
    "upgrad": optim.upgrad(K),
}
LOSSES = np.array([0.5, 2.0, 1.3], np.float32)
EXACT = 2e-5  # float32, through inner products


def tree_of(rows):
    w, b, s = rows[..., :12], rows[..., 12:15], rows[..., 15]
    return {"w": w.reshape(*rows.shape[:-1], 4, 3), "b": b, "s": s}


def flat(tree):
    parts = tree["w"].reshape(12), tree["b"], tree["s"][None]
    return jnp.concatenate(parts)


def params_of(size=SIZE):
    return tree_of(jnp.zeros(size))


@jax.jit
def start():
    return {name: tx.init(params_of()) for name, tx in MERGES.items()}


@jax.jit
def step(rows, losses, states):
    updates, after, grads = {}, {}, tree_of(rows)
    offer = dict(value=losses, value_fn=lambda p: losses + rows @ flat(p))
    for name, tx in MERGES.items():
        tx = optax.with_extra_args_support(tx)
        found, after[name] = tx.update(grads, states[name], params_of(), **offer)
        updates[name] = flat(found)
    return updates, after


@functools.cache
def fresh():
    return start()


def first(rows, losses=LOSSES):
    rows, losses = np.asarray(rows, np.float32), np.asarray(losses, np.float32)
    return jax.device_get(step(rows, losses, fresh()))


def draw(seed=0):
    """Gradients of which some are in conflict."""
    rows = np.random.default_rng(seed).normal(size=(K, SIZE))
    rows[1] -= 0.8 * rows[0]
    return rows.astype(np.float32)


def close(got, want, tolerance=EXACT):
    scale = max(np.abs(want).max(), 1e-30)
    return np.abs(np.asarray(got, np.float64) - want).max() <= tolerance * scale


def direction(x):
    return np.asarray(x, np.float64) / np.linalg.norm(np.asarray(x, np.float64))


# What each returns at its first step, in float64.


def best_face(rows, points):
    """The shortest of sums over faces; only the weights of points sum to 1."""
    best = None
    for size in range(1, K + 1):
        for face in map(list, itertools.combinations(range(K), size)):
            ones = points[face].astype(float)
            if not ones.any():
                continue
            system = np.block([[rows[face] @ rows[face].T, -ones[:, None]], [ones, 0]])
            weights = np.linalg.solve(system, np.eye(size + 1)[-1])[:-1]
            u = weights @ rows[face]
            if weights.min() >= 0 and (best is None or u @ u < best @ best):
                best = u
    return best


def projection(main, others):
    """The shortest of g_0 plus sums with weights >= 0, subset by subset."""
    best = main
    found = [main] if (others @ main >= 0).all() else []
    for size in range(1, len(others) + 1):
        for subset in itertools.combinations(range(len(others)), size):
            rows = others[list(subset)]
            weights = np.linalg.solve(rows @ rows.T, -rows @ main)
            u = main + weights @ rows
            if weights.min() >= 0 and (others @ u >= -1e-12).all():
                found.append(u)
    best = min(found, key=np.linalg.norm)
    return best


def slow_imtl_g(g):
    """Equal projections, by the formula of the paper."""
    unit = g / np.linalg.norm(g, axis=1, keepdims=True)
    d, u = g[0] - g[1:], unit[0] - unit[1:]
    others = g[0] @ u.T @ np.linalg.inv(d @ u.T)
    return (1 - others.sum()) * g[0] + others @ g[1:]


def slow_aligned(g):
    values, vectors = np.linalg.eigh(g @ g.T)
    b = np.sqrt(values[0]) * vectors @ np.diag(values**-0.5) @ vectors.T
    return b.sum(axis=0) @ g


def slow_cagrad(g, c=0.5):
    """A grid over the simplex, refined three times."""
    mean = g.mean(axis=0)
    reach = c * np.linalg.norm(mean)
    center, width = np.full(K, 1 / K), 1.0
    for _ in range(12):
        shifts = np.array(list(itertools.product(np.linspace(-1, 1, 21), repeat=2)))
        w = np.clip(center[:2] + width * shifts, 0, 1)
        w = np.column_stack([w, 1 - w.sum(axis=1)])
        w = w[w[:, 2] >= 0]
        values = w @ g @ mean + reach * np.linalg.norm(w @ g, axis=1)
        center, width = w[np.argmin(values)], width / 4
    u = center @ g
    return (mean + reach * u / np.linalg.norm(u)) / (1 + c**2)


def slow_db(g, losses):
    logs = 0.1 * g / (losses[:, None] + 1e-8)
    norms = np.linalg.norm(logs, axis=1, keepdims=True)
    return (logs / norms * norms.max()).sum(axis=0)


SLOW = {
    "aligned_mtl": lambda g, _: slow_aligned(g),
    "cagrad": lambda g, _: slow_cagrad(g),
    "constrained_mgda": lambda g, _: best_face(g, np.array([True, True, False])),
    "db_mtl": slow_db,
    "dynamic_weight_average": lambda g, _: g.sum(axis=0),
    "famo": lambda g, x: -0.1 * (g / x[:, None]).sum(axis=0) / (1 / x).sum(),
    "geometric": lambda g, x: (g / x[:, None]).mean(axis=0) * np.prod(x) ** (1 / K),
    "gradnorm": lambda g, _: g.sum(axis=0),
    "greatest": lambda g, x: g[np.argmax(x)],
    "imtl_g": lambda g, _: slow_imtl_g(g),
    "imtl_l": lambda g, _: g.sum(axis=0),
    "initial_loss_weights": lambda g, x: (g / x[:, None]).sum(axis=0),
    "main_objective": lambda g, _: projection(g[1], g[[0, 2]]),
    "mgda": lambda g, _: best_face(g, np.ones(K, bool)),
    "prior_loss_weights": lambda g, _: (g / np.array(PRIORS)[:, None]).sum(axis=0),
    "quadratic": lambda g, x: x @ g / K / np.sqrt(np.mean(x**2)),
    "real_time_loss_weights": lambda g, x: (g / x[:, None]).sum(axis=0),
    "sum": lambda g, _: g.sum(axis=0),
    "uncertainty_weights": lambda g, _: 0.5 * np.exp(0.5) * g.sum(axis=0),
    "unit": lambda g, _: (g / np.linalg.norm(g, axis=1, keepdims=True)).sum(axis=0),
    "upgrad": lambda g, _: np.mean([projection(x, g) for x in g], axis=0),
}


@pytest.mark.parametrize("name", SLOW)
def test_the_first_step_is_the_formula(name):
    for seed in range(5):
        rows = draw(seed)
        got = first(rows)[0][name]
        want = SLOW[name](rows.astype(np.float64), LOSSES.astype(np.float64))
        assert close(got, want, 1e-4 if name == "cagrad" else EXACT), seed


def vaccinated(p, g, rho):
    cosine = p @ g / np.linalg.norm(p) / np.linalg.norm(g)
    if cosine >= rho:
        return p, cosine
    turn = rho * np.sqrt(1 - cosine**2) - cosine * np.sqrt(1 - rho**2)
    length = np.linalg.norm(g) * np.sqrt(1 - rho**2)
    return p + g * np.linalg.norm(p) * turn / length, cosine


def all_orders(g, rho):
    """The corrected gradients for every choice of orders, and the new means."""
    others = [[j for j in range(K) if j != i] for i in range(K)]
    for orders in itertools.product(*map(itertools.permutations, others)):
        total, means = np.zeros(SIZE), np.zeros((K, K))
        for i, order in enumerate(orders):
            p = g[i]
            for j in order:
                p, cosine = vaccinated(p, g[j], rho[i, j])
                means[i, j] = 0.5 * rho[i, j] + 0.5 * cosine
            total += p
        yield total, means


def test_pairs_are_corrected_as_written_in_one_of_the_orders():
    """PCGrad is GradVac with means of 0; after a step the means have moved, all."""
    states, rho, met = fresh(), np.zeros((K, K)), set()
    for seed in range(6):
        rows = draw(seed)
        updates, states = jax.device_get(step(rows, LOSSES, states))
        wide = rows.astype(np.float64)
        plain = [u for u, _ in all_orders(wide, np.zeros((K, K)))]
        fits = [close(updates["pcgrad"], u) for u in plain]
        assert any(fits)
        met.add(fits.index(True))
        means = states["gradvac"].memory[1]
        rho = next(
            m
            for u, m in all_orders(wide, rho)
            if close(updates["gradvac"], u, 1e-4) and close(means, m, 1e-4)
        )
    assert len(met) > 1  # the orders are drawn anew


def test_nash_weights_are_their_equation():
    updates, states = first(draw())
    a = np.array([states["nash_mtl"].scores[f"weight_{k}"] for k in range(K)])
    wide = draw().astype(np.float64)
    np.testing.assert_allclose(a * (wide @ wide.T @ a), 1.0, rtol=1e-5)
    np.testing.assert_allclose(np.sum(updates["nash_mtl"] ** 2), K, rtol=1e-5)
    assert states["nash_mtl"].scores["equation_error"] < 1e-5


def test_the_certificates_are_those_of_the_shortest_vector():
    for seed in range(5):
        updates, states = first(draw(seed))
        wide = draw(seed).astype(np.float64)
        for name, bound in (
            ("mgda", 1e-5),
            ("mgda_by_frank_wolfe", 1e-2),
            ("mgda_by_averaging", 0.5),
        ):
            u = updates[name].astype(np.float64)
            gap = states[name].scores["duality_gap"]
            assert abs(u @ u - (wide @ u).min() - gap) < 1e-4 * np.sum(wide**2)
            assert gap < bound * np.sum(wide**2, axis=1).min()


def test_two_unit_gradients_nash_and_impartial_have_one_direction():
    """The third objective is at rest, and has no say in these."""
    rows = draw()
    rows[2] = 0.0
    updates = first(rows)[0]
    want = direction(updates["unit"])
    assert close(direction(updates["nash_mtl"]), want)
    assert close(direction(updates["imtl_g"]), want)
    units = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    updates = first(np.stack([units[0], units[1], units[0]]))[0]
    assert close(direction(updates["mgda"]), want)


ORDERED = ("constrained_mgda", "main_objective", "prior_loss_weights")
DRAWN = ("gradvac", "pcgrad", "random_loss_weights")


def test_the_order_of_the_objectives_does_not_matter():
    order = [2, 0, 1]
    before, after = first(draw())[0], first(draw()[order], LOSSES[order])[0]
    for name in MERGES.keys() - {*ORDERED, *DRAWN}:
        loose = 1e-2 if name == "mgda_by_averaging" else 10 * EXACT
        assert close(after[name], before[name], loose), name


def test_a_rotation_of_the_parameters_rotates_the_update():
    rotation = np.linalg.qr(np.random.default_rng(3).normal(size=(SIZE, SIZE)))[0]
    before, after = first(draw())[0], first(draw() @ rotation)[0]
    for name in MERGES:
        loose = 1e-2 if name == "mgda_by_averaging" else 10 * EXACT
        assert close(after[name], before[name] @ rotation, loose), name


SCALE = {"initial_loss_weights", "real_time_loss_weights", "geometric", "unit"}
SCALE |= {"nash_mtl", "imtl_g", "db_mtl", "famo", "main_objective"}


def test_who_ignores_the_unit_of_a_loss():
    """By direction; the others move by a tenth at least."""
    factors = np.array([1.0, 30.0, 0.05], np.float32)
    before, after = (
        first(draw())[0],
        first(draw() * factors[:, None], LOSSES * factors)[0],
    )
    for name in MERGES.keys() - {"random_loss_weights", "greatest"}:
        moved = np.linalg.norm(direction(after[name]) - direction(before[name]))
        assert (moved < 1e-4) == (name in SCALE), name
        assert name in SCALE or moved > 0.1, name


SHIFT_MATTERS = {"initial_loss_weights", "real_time_loss_weights", "geometric"}
SHIFT_MATTERS |= {"quadratic", "famo"}


def test_who_ignores_what_is_added_to_a_loss():
    """UW, IMTL-L, DWA, GradNorm start from equal weights: see a later step.

    DB-MTL takes logarithms, but then makes all as long as the longest: what is added
    can change its length, and its direction only through the average over steps. The
    first slopes of GradNorm have the same signs here.
    """
    states = fresh(), fresh()
    for seed in range(3):
        falling = LOSSES * np.float32(0.5**seed)
        before, states = step(draw(), falling, states[0]), states
        after = step(draw(), falling + np.float32([0, 10, 0]), states[1])
        states = before[1], after[1]
    later = SHIFT_MATTERS | {"dynamic_weight_average"}
    later |= {"uncertainty_weights", "imtl_l"}
    for name in MERGES.keys() - {"greatest", "db_mtl", "gradnorm"}:
        assert close(after[0][name], before[0][name]) == (name not in later), name


def test_learned_weights_move_as_their_objectives_say():
    """Adam's first step is its rate times the sign of a slope."""
    rows, rate = draw(), 0.025
    states = fresh()
    second = np.float32([0.2, 1.9, 1.3])
    for losses in (LOSSES, second):
        updates, states = jax.device_get(step(rows, losses, states))
    wide, x = rows.astype(np.float64), LOSSES.astype(np.float64)

    s = -0.5 - rate * np.sign(0.5 - 0.5 * x * np.exp(0.5))
    assert close(updates["uncertainty_weights"], 0.5 * np.exp(-s) @ wide)
    s = -rate * np.sign(x - 1)
    assert close(updates["imtl_l"], np.exp(s) @ wide)

    def uneven(s):  # at the start no loss has fallen: the target is the mean norm
        norms = np.exp(s) / np.exp(s).sum() * K * np.linalg.norm(wide, axis=1)
        return np.abs(norms - np.linalg.norm(wide, axis=1).mean()).sum()

    tiny = 1e-6 * np.eye(K)
    slope = [(uneven(e) - uneven(-e)) / 2e-6 for e in tiny]
    z = np.exp(-rate * np.sign(slope))
    assert close(updates["gradnorm"], K * z / z.sum() @ wide)

    step_made = SLOW["famo"](wide, x)
    fell = np.log(x) - np.log(np.maximum(x + wide @ step_made, 1e-8))
    z = np.exp(-rate * np.sign((fell - fell.mean()) / K))
    z /= z.sum()
    weights = z / second / (z / second).sum()
    assert close(updates["famo"], -0.1 * weights @ wide)


def test_weights_of_the_past_follow_it():
    rows, states = draw(), fresh()
    seen = np.float32([[1, 1, 1], [0.5, 1, 2], [0.1, 0.2, 0.3], [1, 2, 3]])
    for losses in seen:
        updates, states = jax.device_get(step(rows, losses, states))
    wide = rows.astype(np.float64)
    assert close(updates["initial_loss_weights"], wide.sum(axis=0))
    r = np.exp(seen[2] / seen[1] / 2.0)
    assert close(updates["dynamic_weight_average"], K * r / r.sum() @ wide)
    averages = np.zeros((K, SIZE))
    for losses in seen:
        averages = 0.9 * averages + 0.1 * wide / (losses[:, None] + 1e-8)
    norms = np.linalg.norm(averages, axis=1, keepdims=True)
    assert close(updates["db_mtl"], (averages / norms * norms.max()).sum(axis=0))


def test_learned_scales_come_to_the_weights_of_real_time():
    states, rows = fresh(), draw()
    for _ in range(400):
        updates, states = step(rows, LOSSES, states)
    want = rows.T @ (1 / LOSSES)
    assert close(updates["uncertainty_weights"], want / 2, 1e-2)
    assert close(updates["imtl_l"], want, 1e-2)


def test_random_weights_are_a_new_softmax_each_time():
    states, seen = fresh(), []
    for _ in range(50):
        _, states = step(draw(), LOSSES, states)
        scores = states["random_loss_weights"].scores
        seen.append([float(scores[f"weight_{k}"]) for k in range(K)])
    seen = np.array(seen)
    np.testing.assert_allclose(seen.sum(axis=1), 1.0, rtol=1e-5)
    assert len(np.unique(seen[:, 0])) == 50
    assert np.abs(seen.mean(axis=0) - 1 / K).max() < 0.15


EDGES = {
    "a zero row": np.array([[1], [1], [0]]) * draw(),
    "all zero": np.zeros((K, SIZE)),
    "doubled rows": draw()[[0, 0, 1]],
    "one objective thrice": draw()[[0, 0, 0]],
    "parallel": np.outer([1, 2, 5], draw()[0]),
    "opposite": np.outer([1, -1, -1], draw()[0]),
    "tiny": 1e-12 * draw(),
    "at rest together": np.stack([draw()[0], draw()[1], -draw()[0] - draw()[1]]),
}
LOSS_EDGES = {"usual": LOSSES, "zero": [0, 1, 0], "negative": [-1, 0, 1]}


@pytest.mark.parametrize("edge", EDGES)
def test_nothing_is_nan_at_an_edge(edge):
    for losses in LOSS_EDGES.values():
        states = fresh()
        for _ in range(3):
            losses = np.asarray(losses, np.float32)
            rows = EDGES[edge].astype(np.float32)
            updates, states = jax.device_get(step(rows, losses, states))
        for name in MERGES:
            leaves = [updates[name], *jax.tree.leaves(states[name])]
            assert all(np.isfinite(x).all() for x in leaves), name


def test_one_objective_is_itself_up_to_a_factor():
    rows = EDGES["one objective thrice"].astype(np.float32)
    updates = first(rows, LOSSES[[0, 0, 0]])[0]
    for name in MERGES:
        sign = -1 if name == "famo" else 1
        assert close(sign * direction(updates[name]), direction(rows[0])), name


def test_where_no_direction_serves_all_the_update_is_nothing():
    for edge in ("opposite", "at rest together", "a zero row"):
        updates = first(EDGES[edge])[0]
        for name in ("mgda", "mgda_by_frank_wolfe"):
            assert np.abs(updates[name]).max() < 1e-3
        if edge != "a zero row":
            assert np.abs(updates["nash_mtl"]).max() < 2e-2
            assert np.abs(updates["upgrad"]).max() < 1e-3


def test_losses_at_the_floor_are_counted():
    states = first(draw(), [-1, 0, 1])[1]
    for name in ("real_time_loss_weights", "famo", "geometric", "imtl_l", "db_mtl"):
        assert states[name].scores["losses_at_floor"] == 2


def abstract(tree):
    return jax.tree.map(lambda x: (x.shape, x.dtype), tree)


def update_shapes(tx, grads, params, count=K):
    def run(grads, params, losses):
        offer = dict(value=losses, value_fn=lambda p: losses, unheard_of=1)
        tx_ = optax.with_extra_args_support(tx)
        state = tx_.init(params)
        updates, after = tx_.update(grads, state, params, **offer)
        return updates, state, after

    return jax.eval_shape(run, grads, params, jnp.zeros(count, jnp.float32))


@pytest.mark.parametrize("name", MERGES)
def test_keeps_dtypes_structure_and_leaves_that_are_none(name):
    shape = jax.ShapeDtypeStruct
    params = {
        "w": shape((4, 2), jnp.bfloat16),
        "s": shape((), jnp.float32),
        "empty": shape((0,), jnp.float32),
        "none": None,
        "masked": optax.MaskedNode(),
    }
    grads = jax.tree.map(lambda p: shape((K, *p.shape), p.dtype), params)
    updates, before, after = update_shapes(MERGES[name], grads, params)
    assert abstract(updates) == abstract(params)
    assert abstract(before) == abstract(after)
    if name not in ("sum", "unit"):
        updates, before, after = update_shapes(MERGES[name], {}, {})
        assert updates == {}
        assert abstract(before) == abstract(after)


def test_heads_follow_their_own_loss_and_the_trunk_decides():
    """With `shared_mask` the weights of the trunk come from the trunk alone."""
    draws = np.random.default_rng(5)
    grads = {
        "trunk": {"kernel": draws.normal(size=(2, 4, 3)).astype(np.float32)},
        "heads": [draws.normal(size=(2, 5)).astype(np.float32) for _ in range(2)],
    }
    params = jax.tree.map(lambda g: g[0], grads)
    trunk = functools.partial(many.leaves_named, texts=("trunk",))
    prefix = {"trunk": True, "heads": False}
    plain = optim.nash_mtl(2)

    @jax.jit
    def run(grads):
        offer = dict(value=jnp.ones(2), value_fn=lambda p: jnp.ones(2))
        found = []
        for tx in (
            optim.nash_mtl(2, shared_mask=trunk),
            optim.nash_mtl(2, shared_mask=prefix),
            optim.db_mtl(2, shared_mask=trunk),
        ):
            found.append(tx.update(grads, tx.init(params), params, **offer)[0])
        alone = {"trunk": grads["trunk"]}
        return found, plain.update(alone, plain.init(alone))[0]

    found, alone = jax.device_get(run(grads))
    for updates in found:
        for head, g in zip(updates["heads"], grads["heads"], strict=True):
            np.testing.assert_allclose(head, g.sum(axis=0), rtol=1e-5, atol=1e-6)
    for updates in found[:2]:
        np.testing.assert_allclose(
            updates["trunk"]["kernel"], alone["trunk"]["kernel"], rtol=1e-5
        )


def test_gradients_split_over_devices_have_the_same_products():
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    rows = np.random.default_rng(0).normal(size=(K, 64)).astype(np.float32)
    place = jax.NamedSharding(mesh, jax.P(None, "data"))
    split = jax.device_put(rows, place)
    tx = optim.mgda(K)
    update = jax.jit(lambda g: tx.update({"w": g}, tx.init({"w": g[0]})))
    got, state = jax.device_get(update(split))
    wide = rows.astype(np.float64)
    assert close(got["w"], best_face(wide, np.ones(K, bool)))
    assert state.scores["duality_gap"] < 1e-4


def test_products_of_large_leaves_in_blocks_are_the_same():
    rows = np.random.default_rng(0).normal(size=(K, 7, 10_001)).astype(np.float32)
    tree = {"w": rows, "s": np.ones(K, np.float32)}
    got = jax.jit(lambda g: many.gram(g, {"w": True, "s": True}, K))(tree)
    wide = rows.reshape(K, -1).astype(np.float64)
    np.testing.assert_allclose(got, wide @ wide.T + 1.0, rtol=1e-5, atol=0.1)


def test_more_than_eight_objectives_are_summed_as_well():
    rows = np.random.default_rng(0).normal(size=(9, 5)).astype(np.float32)
    weights = np.arange(9, dtype=np.float32)
    got = many.combine(weights, {"w": jnp.asarray(rows)}, {"w": True})
    np.testing.assert_allclose(got["w"], weights @ rows, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "make", [optim.mgda, optim.real_time_loss_weights, optim.db_mtl]
)
def test_another_number_of_objectives_is_refused(make):
    grads = {"w": jnp.zeros((2, 4))}
    with pytest.raises(ValueError, match="objectives = 3"):
        make(3).update(grads, None, value=jnp.zeros(3))
    with pytest.raises(ValueError, match="at least 1"):
        make(0)


@pytest.mark.parametrize(
    "name", ["real_time_loss_weights", "gradnorm", "famo", "db_mtl"]
)
def test_missing_losses_are_refused(name):
    grads = {"w": jnp.zeros((3, 4))}
    with pytest.raises(ValueError, match="needs the losses"):
        MERGES[name].update(grads, None, {"w": jnp.zeros(4)})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optim.initial_loss_weights(2, batches=0), "batches"),
        (lambda: optim.real_time_loss_weights(2, floor=0), "floor"),
        (lambda: optim.prior_loss_weights((1.0, 0.0)), "priors"),
        (lambda: optim.generalized_mean_weights(2, power=float("nan")), "power"),
        (lambda: optim.dynamic_weight_average(2, temperature=0), "temperature"),
        (lambda: optim.dynamic_weight_average(2, every=0), "every"),
        (lambda: optim.famo(INNER, 2, least=(0.0,)), "least"),
        (lambda: optim.db_mtl(2, decay=1.0), "decay"),
        (lambda: optim.gradvac(2, decay=2.0), "decay"),
        (lambda: optim.cagrad(2, radius=-1.0), "radius"),
        (lambda: optim.main_objective(2, main=2), "main"),
        (lambda: optim.constrained_mgda(2, constraints=(0, 1)), "constraints"),
    ],
)
def test_wrong_hyperparameters_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
