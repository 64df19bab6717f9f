"""Solvers on Gram matrices: one batch of problems, compiled once in float64.

Four gradients in six dimensions; two and one come as duplicated rows, so that ties are
met everywhere.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from kexue_jax.algorithms.conflict_averse import conflict_averse_weights
from kexue_jax.algorithms.dual_cone import dual_cone_projection
from kexue_jax.algorithms.min_norm import (
    min_norm_by_averaging,
    min_norm_by_frank_wolfe,
    min_norm_point,
)
from kexue_jax.algorithms.nash_bargaining import nash_bargaining
from kexue_jax.algorithms.nonnegative_quadratic import nonnegative_quadratic

RANDOM = 100
MIXED = np.array([True, True, False, False])


@functools.cache
def problems():
    """Gradients [P, 4, 6]: random ones, then cases with a name."""
    draws = np.random.default_rng(0)
    rows = draws.normal(size=(RANDOM, 4, 6))
    rows[::3] *= 10.0 ** draws.uniform(-3, 3, size=(len(rows[::3]), 4, 1))
    rows[1::3, :, 2:] *= 0.1  # flat hulls
    cases = {
        "two": draws.normal(size=(2, 6))[[0, 1, 0, 1]],
        "two in conflict": np.array([[1, 0.2, 0, 0, 0, 0], [-3, 0.1, 0, 0, 0, 0]])[
            [0, 0, 1, 1]
        ],
        "one": draws.normal(size=(1, 6))[[0, 0, 0, 0]],
        "a zero row": np.concatenate([draws.normal(size=(3, 6)), np.zeros((1, 6))]),
        "all zero": np.zeros((4, 6)),
        "around 0": np.concatenate([np.eye(3, 6), -np.ones((1, 3)) @ np.eye(3, 6)]),
        "opposite": np.outer([1, 1, -2, -2], np.eye(6)[0]),
        "parallel": np.outer([1, 2, 3, 4], draws.normal(size=6)),
    }
    return np.concatenate([rows, np.stack(list(cases.values()))]), list(cases)


@jax.jit
@jax.vmap
def solve(rows):
    gram = rows @ rows.T
    return {
        "least": min_norm_point(gram),
        "mixed": min_norm_point(gram, jnp.asarray(MIXED)),
        "frank_wolfe": min_norm_by_frank_wolfe(gram, steps=300),
        "averaging": min_norm_by_averaging(gram, steps=300),
        "cone": dual_cone_projection(gram, gram[0]),
        "first": dual_cone_projection(gram[1:, 1:], gram[0, 1:]),
        "nash": nash_bargaining(gram),
        "averse": conflict_averse_weights(gram, radius=0.5),
    }


@functools.cache
def solved(dtype="float64"):
    with jax.enable_x64(dtype == "float64"):
        return jax.device_get(solve(problems()[0].astype(dtype)))


def case(name):
    return RANDOM + problems()[1].index(name)


def directions(found):
    return np.einsum("pk,pkd->pd", found, problems()[0])


def reference(rows, points=None):
    """The least square of a point of the hull: the equations of each face in turn."""
    points = np.ones(len(rows), bool) if points is None else points
    best = np.inf
    for size in range(1, len(rows) + 1):
        for face in map(list, itertools.combinations(range(len(rows)), size)):
            ones = points[face].astype(float)
            if not ones.any():
                continue
            system = np.block([[rows[face] @ rows[face].T, -ones[:, None]], [ones, 0]])
            weights = np.linalg.lstsq(system, np.eye(size + 1)[-1], rcond=1e-13)[0]
            if min(weights[:-1]) >= -1e-9 and np.isclose(ones @ weights[:-1], 1):
                best = min(best, np.sum((weights[:-1] @ rows[face]) ** 2))
    return best


def test_the_shortest_vector_has_its_certificate_and_the_length_of_the_best_face():
    rows, found = problems()[0], solved()["least"]
    for i, gradients in enumerate(rows):
        u, scale = found.weights[i] @ gradients, np.max(np.sum(gradients**2, axis=1))
        inner, square = gradients @ u, u @ u
        assert found.weights[i].min() >= 0
        assert np.isclose(found.weights[i].sum(), 1)
        assert (inner - square).min() >= -1e-12 * scale
        assert np.abs((inner - square) * found.weights[i]).max() <= 1e-12 * scale
        assert np.isclose(square, reference(gradients), rtol=1e-9, atol=1e-13 * scale)
        assert found.gap[i] <= 1e-12 * scale


def test_a_general_solver_finds_no_shorter_one():
    rows, found = problems()[0], solved()["least"]
    for i in range(0, 30, 3):
        unit = rows[i] / np.sqrt(np.max(np.sum(rows[i] ** 2, axis=1)))
        gram = unit @ unit.T
        peer = scipy.optimize.minimize(
            lambda a, gram=gram: a @ gram @ a,
            np.full(4, 0.25),
            jac=lambda a, gram=gram: 2 * gram @ a,
            bounds=[(0, 1)] * 4,
            constraints={"type": "eq", "fun": lambda a: a.sum() - 1},
            method="SLSQP",
            options={"ftol": 1e-14},
        )
        mine = np.linalg.norm(found.weights[i] @ unit)
        assert mine <= np.sqrt(max(peer.fun, 0)) + 1e-6


def test_two_have_the_closed_form_even_when_doubled():
    found = solved()["least"]
    for name, first, second in (("two", 0, 1), ("two in conflict", 0, 2)):
        rows = problems()[0][case(name)]
        g1, g2 = rows[first], rows[second]
        share = np.clip((g2 - g1) @ g2 / np.sum((g1 - g2) ** 2), 0, 1)
        u = found.weights[case(name)] @ rows
        np.testing.assert_allclose(u, share * g1 + (1 - share) * g2, atol=1e-14)


def test_a_hull_around_zero_has_the_weights_of_zero():
    for name in ("a zero row", "all zero", "around 0", "opposite"):
        assert solved()["least"].squared_norm[case(name)] < 1e-15
    np.testing.assert_allclose(solved()["least"].weights[case("around 0")], 0.25)
    shortest = problems()[0][case("parallel"), 0]
    np.testing.assert_allclose(
        directions(solved()["least"].weights)[case("parallel")], shortest, rtol=1e-12
    )


def test_rays_are_held_to_their_sign_and_points_to_their_sum():
    rows, found = problems()[0], solved()["mixed"]
    for i, gradients in enumerate(rows):
        a, scale = found.weights[i], np.max(np.sum(gradients**2, axis=1))
        u = a @ gradients
        assert a.min() >= 0
        assert np.isclose(a[MIXED].sum(), 1)
        assert (gradients[~MIXED] @ u).min() >= -1e-11 * scale
        assert (gradients[MIXED] @ u - u @ u).min() >= -1e-11 * scale
        want = reference(gradients, MIXED)
        assert np.isclose(u @ u, want, rtol=1e-8, atol=1e-12 * scale)


def test_frank_wolfe_and_the_average_come_near_and_their_gap_says_how_near():
    exact = solved()["least"].squared_norm
    longest = np.sum(problems()[0] ** 2, axis=-1).max(axis=1)
    for name, near in (("frank_wolfe", 0.02), ("averaging", 0.1)):
        found = solved()[name]
        excess = found.squared_norm - exact
        assert (excess >= -1e-12 * longest).all()
        assert (excess <= 2 * found.gap + 1e-12 * longest).all()
        assert (excess <= near * longest).all()


def test_the_cone_projection_is_that_of_nonnegative_least_squares():
    rows = problems()[0]
    for i, gradients in enumerate(rows):
        main, others = gradients[0], gradients[1:]
        units = np.maximum(np.linalg.norm(others, axis=1, keepdims=True), 1e-30)
        _, want = scipy.optimize.nnls((others / units).T, -main)
        weights = solved()["first"][i]
        u = main + weights @ others
        assert weights.min() >= 0
        assert np.isclose(np.linalg.norm(u), want, rtol=1e-9, atol=1e-10)
        assert (others @ u / units[:, 0]).min() >= -1e-9 * np.linalg.norm(main) - 1e-12
        assert np.linalg.norm(u) <= np.linalg.norm(main) * (1 + 1e-12)


def test_without_conflict_the_projection_changes_nothing():
    rows = problems()[0]
    calm = [(g[1:] @ g[0]).min() >= 0 for g in rows]
    assert sum(calm) >= 5
    assert not solved()["first"][calm].any()


def worst_first(main, others, steps=1000):
    """The iteration of the post: always the weight of the least inner product."""
    weights = np.zeros(len(others))
    for _ in range(steps):
        u = main + weights @ others
        worst = np.argmin(others @ u)
        rest = u - weights[worst] * others[worst]
        weights[worst] = max(-(rest @ others[worst]), 0) / (
            others[worst] @ others[worst]
        )
    return main + weights @ others


def test_the_iteration_of_the_post_often_stops_short_of_the_projection():
    """It stays feasible, nearly always; it is longer than need be, in a third."""
    rows = np.random.default_rng(1).normal(size=(RANDOM + len(problems()[1]), 4, 6))
    with jax.enable_x64(True):
        weights = jax.device_get(solve(rows)["first"])
    excess = [
        np.linalg.norm(worst_first(g[0], g[1:])) - np.linalg.norm(g[0] + a @ g[1:])
        for g, a in zip(rows, weights, strict=True)
    ]
    assert min(excess) > -1e-12
    assert np.mean(np.array(excess) > 1e-6) > 0.05
    assert max(excess) > 0.05


def test_the_bargain_is_its_equation():
    rows, found = problems()[0], solved()["nash"]
    for i, gradients in enumerate(rows[:RANDOM]):
        gram, a = gradients @ gradients.T, found[i]
        np.testing.assert_allclose(gram @ a * a, 1.0, rtol=1e-6)
        assert np.isclose(np.sum((a @ gradients) ** 2), 4.0, rtol=1e-6)


def test_the_bargain_of_two_is_the_sum_of_unit_gradients():
    g1, g2 = problems()[0][case("two")][:2]
    u = directions(solved()["nash"])[case("two")]
    want = g1 / np.linalg.norm(g1) + g2 / np.linalg.norm(g2)
    np.testing.assert_allclose(
        u / np.linalg.norm(u), want / np.linalg.norm(want), rtol=1e-7
    )
    k11, k12, k22 = g1 @ g1, g1 @ g2, g2 @ g2
    first = (k11 + k12 * np.sqrt(k11 / k22)) ** -0.5  # for each once, not twice
    got = solved()["nash"][case("two")][:2]
    np.testing.assert_allclose(
        got, first * np.array([1, np.sqrt(k11 / k22)]) / np.sqrt(2)
    )


def test_without_a_bargain_the_direction_is_next_to_nothing():
    for name in ("around 0", "opposite", "all zero"):
        assert np.linalg.norm(directions(solved()["nash"])[case(name)]) < 1e-6
    assert solved()["nash"][case("a zero row"), 3] == 0
    assert np.isfinite(solved()["nash"]).all()


def test_conflict_aversion_is_optimal_in_its_ball():
    """The value reached equals that of the dual, where it has one."""
    for i, gradients in enumerate(problems()[0]):
        gram = gradients @ gradients.T
        mean = gradients.mean(axis=0)
        reach, scale = 0.5 * np.linalg.norm(mean), np.max(np.diag(gram))
        d = solved()["averse"][i] @ gradients
        assert np.linalg.norm(d - mean) <= reach * (1 + 1e-6) + 1e-14
        excess = solved()["averse"][i] - 0.25
        if excess.sum() > 0 and i < RANDOM:
            w = excess / excess.sum()
            dual = w @ gradients @ mean + reach * np.linalg.norm(w @ gradients)
            assert np.isclose((gradients @ d).min(), dual, rtol=1e-5, atol=1e-7 * scale)


def test_in_float32_nothing_is_nan_and_the_shortest_gradient_sets_the_error():
    found = solved("float32")
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(found))
    shortest = np.sum(problems()[0] ** 2, axis=-1).min(axis=1)
    error = np.abs(found["least"].squared_norm - solved()["least"].squared_norm)
    assert (error <= 1e-4 * shortest + 1e-12).all()
    assert (found["least"].weights >= 0).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: min_norm_point(np.ones((2, 3))), "gram must be"),
        (lambda: min_norm_by_averaging(np.ones((2, 2)), steps=-1), "steps"),
        (lambda: nash_bargaining(np.ones((2, 3))), "gram must be"),
        (lambda: conflict_averse_weights(np.ones((2, 2)), radius=-1), "radius"),
        (lambda: nonnegative_quadratic(np.ones((2, 2)), np.ones(3)), "matrix and"),
    ],
)
def test_wrong_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
