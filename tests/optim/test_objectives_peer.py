"""Merges beside torchjd and LibMTL, on random Jacobians of 4 objectives.

Where the peer is not what its paper says, with the test that shows it:

====================  ==================================================================
peer                  what differs
====================  ==================================================================
torchjd MGDA          Frank-Wolfe that stops early: longer than the shortest by percents
torchjd CAGrad        returns 0 near Pareto points, where the solution is not 0; works
                      on a normalised Gram matrix with 1e-4 added; no 1/(1 + c^2)
torchjd Aligned-MTL   the mean where LibMTL and the authors' code take the sum
torchjd Nash-MTL      where its solver gives up, in 4 of 30 cases, it silently leaves
                      the plain sum at first, and later the weights of the step before
torchjd UPGrad        solves with a ridge on the normalised Gram matrix
LibMTL CAGrad         holds the number 3 where the count of tasks belongs
LibMTL MGDA           weights of two tasks are cut to 0.001 and 0.999, and nothing is
                      returned when 250 rounds do not suffice
LibMTL GradVac        its targets move only when it acts, so they can only fall
LibMTL GLS            reports weights that are not those it trains with
====================  ==================================================================
"""

import importlib
import importlib.util
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize

from kexue_jax import optim
from kexue_jax.algorithms.conflict_averse import conflict_averse_weights
from kexue_jax.algorithms.min_norm import min_norm_point

pytestmark = pytest.mark.peer
K, SIZE = 4, 9


def jacobians(count=30, objectives=K, seed=0):
    draws = np.random.default_rng(seed)
    return draws.normal(size=(count, objectives, SIZE))


def mine(make, rows, **offer):
    """The update for each Jacobian, in float64, from a fresh state."""
    with jax.enable_x64(True):
        tx = optax.with_extra_args_support(make(rows.shape[1]))

        def update(g):
            return tx.update(g, tx.init(g[0]), **offer)[0]

        return np.asarray(jax.jit(jax.vmap(update))(jnp.asarray(rows)))


def theirs(make, rows):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    return np.stack([make()(torch.from_numpy(g)).numpy() for g in rows])


@pytest.fixture
def torchjd():
    return pytest.importorskip("torchjd.aggregation")


@pytest.fixture
def libmtl(monkeypatch):
    """Its weightings, without the trainer, which asks for more than is needed."""
    torch = pytest.importorskip("torch")
    spec = importlib.util.find_spec("LibMTL")
    if spec is None:
        pytest.skip("LibMTL is not installed")
    package = types.ModuleType("LibMTL")
    package.__path__ = list(spec.submodule_search_locations)
    monkeypatch.setitem(sys.modules, "LibMTL", package)

    def make(name):
        module = importlib.import_module(f"LibMTL.weighting.{name}")
        weighting = getattr(module, name)()
        weighting.rep_grad, weighting.device = False, torch.device("cpu")
        weighting.init_param()
        return weighting

    return make


def run_libmtl(weighting, rows, losses=None, **options):
    """What it leaves as the gradient of the shared parameter, and what it returns."""
    import torch

    shared = torch.nn.Parameter(torch.zeros(rows.shape[1]))
    shared.grad = torch.zeros(rows.shape[1])
    weighting.task_num = len(rows)
    weighting.get_share_params = lambda: [shared]
    weighting.zero_grad_share_params = lambda: shared.grad.zero_()
    values = torch.ones(len(rows)) if losses is None else torch.tensor(losses)
    weighting_losses = torch.tensor(rows, dtype=torch.float32) @ shared + values
    returned = weighting.backward(weighting_losses, **options)
    return shared.grad.numpy().copy(), returned


def direction(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def test_impartial_gradients_are_those_of_torchjd(torchjd):
    rows = jacobians()
    got, want = mine(optim.imtl_g, rows), theirs(torchjd.IMTLG, rows)
    np.testing.assert_allclose(direction(got), direction(want), rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(got, want, rtol=1e-7, atol=1e-8)


def test_aligned_gradients_are_those_of_torchjd_times_their_number(torchjd):
    rows = jacobians()
    got, want = mine(optim.aligned_mtl, rows), theirs(torchjd.AlignedMTL, rows)
    np.testing.assert_allclose(got, K * want, rtol=1e-10, atol=1e-11)


def test_two_projected_gradients_are_those_of_torchjd(torchjd):
    rows = jacobians(objectives=2)
    got, want = mine(optim.pcgrad, rows), theirs(torchjd.PCGrad, rows)
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-13)


def test_two_vaccinated_gradients_are_those_of_torchjd_over_time(torchjd):
    torch = pytest.importorskip("torch")
    peer = torchjd.GradVac()
    tx = optim.gradvac(2)
    with jax.enable_x64(True):
        state, update = tx.init(jnp.zeros(SIZE)), jax.jit(tx.update)
        for g in jacobians(10, objectives=2):
            got, state = update(jnp.asarray(g), state)
            want = peer(torch.from_numpy(g)).numpy()
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_two_shortest_vectors_agree_and_four_of_torchjd_are_too_long(torchjd):
    two = jacobians(objectives=2)
    want = theirs(torchjd.MGDA, two)
    np.testing.assert_allclose(mine(optim.mgda, two), want, rtol=1e-12, atol=1e-13)
    rows = jacobians(200)
    got = np.linalg.norm(mine(optim.mgda, rows), axis=1)
    ratio = np.linalg.norm(theirs(torchjd.MGDA, rows), axis=1) / got
    assert ratio.min() > 1 - 1e-12
    assert ratio.max() > 1.03


def test_conflict_aversion_is_that_of_torchjd_before_it_is_rescaled(torchjd):
    rows = jacobians()
    got = 1.25 * mine(optim.cagrad, rows)
    want = theirs(lambda: torchjd.CAGrad(0.5), rows)
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-3)

    def worst(d):
        return (rows @ d[..., None])[..., 0].min(axis=1)

    mean = rows.mean(axis=1)
    assert (worst(got) >= worst(want) - 1e-3).all()
    reach = 0.5 * np.linalg.norm(mean, axis=1)
    assert (np.linalg.norm(got - mean, axis=1) <= reach * (1 + 1e-6)).all()


def test_conflict_aversion_of_torchjd_stops_where_it_should_go_on(torchjd):
    """Two opposite gradients and one across: none lowers all, so some weights give 0.

    The solution lies in the ball around the mean, which 0 does not: with c < 1 the
    method goes on to a minimum of the mean.
    """
    rows = np.zeros((1, 3, SIZE))
    rows[0, :2, 0], rows[0, 2, 1] = (1.0, -1.0), 1.0
    assert not theirs(lambda: torchjd.CAGrad(0.5), rows).any()
    got = 1.25 * mine(optim.cagrad, rows)[0]
    mean = rows[0].mean(axis=0)
    assert np.linalg.norm(got - mean) <= 0.5 * np.linalg.norm(mean) * (1 + 1e-9)
    assert (rows[0] @ got).min() > -1e-9
    assert got @ mean > 0.5 * mean @ mean


def test_agreement_with_all_is_that_of_torchjd_up_to_its_ridge(torchjd):
    rows = jacobians()
    got, want = mine(optim.upgrad, rows), theirs(torchjd.UPGrad, rows)
    np.testing.assert_allclose(got, want, rtol=1e-2, atol=2e-3)
    exact = [
        np.mean([x + scipy.optimize.nnls(g.T, -x)[0] @ g for x in g], axis=0)
        for g in rows
    ]
    np.testing.assert_allclose(got, exact, rtol=1e-9, atol=1e-10)


@pytest.mark.filterwarnings("ignore:You are solving a parameterized problem")
def test_the_bargain_of_torchjd_is_right_in_most_cases_and_depends_on_the_last(torchjd):
    """In 4 of 30 its inner solver gives up and the plain sum is left, unsaid."""
    torch = pytest.importorskip("torch")
    rows = jacobians()
    got = mine(optim.nash_mtl, rows)

    def fresh():
        return torchjd.NashMTL(n_tasks=K, optim_niter=200, max_norm=0.0)

    want = theirs(fresh, rows)
    same = np.abs(direction(got) - direction(want)).max(axis=1) < 0.01
    assert 20 <= same.sum() < 30
    for g, u in zip(rows[~same], want[~same], strict=True):
        np.testing.assert_allclose(direction(u), direction(g.sum(axis=0)), atol=1e-5)
    for g, u in zip(rows, got, strict=True):
        a = np.linalg.solve(g @ g.T, g @ u)
        np.testing.assert_allclose(a * (g @ u), 1.0, rtol=1e-9)
    peer, left = fresh(), []
    for i in (0, 15):  # the second is one of the four: now it has the first's weights
        u = peer(torch.from_numpy(rows[i])).numpy()
        left.append(np.linalg.solve(rows[i] @ rows[i].T, rows[i] @ u))
    np.testing.assert_allclose(left[0], left[1], rtol=1e-4)


def test_conflict_aversion_of_libmtl_is_for_three_tasks_only(libmtl):
    options = dict(calpha=0.5, rescale=1)
    for g in jacobians(5, objectives=3):
        want, _ = run_libmtl(libmtl("CAGrad"), g, **options)
        got = mine(optim.cagrad, g[None])[0]
        np.testing.assert_allclose(got, want, rtol=1e-2, atol=2e-3)
    with pytest.raises(ValueError, match="reshape"):
        run_libmtl(libmtl("CAGrad"), jacobians(1)[0], **options)


def test_the_shortest_of_two_in_libmtl_is_cut(libmtl):
    """One gradient lies behind the other: all the weight belongs on the shorter."""
    rows = np.zeros((2, SIZE))
    rows[:, 0] = 1.0, 1000.0
    want, weights = run_libmtl(libmtl("MGDA"), rows, mgda_gn="none")
    np.testing.assert_allclose(weights, [0.999, 0.001], rtol=1e-5)
    assert np.linalg.norm(want) > 1.9
    np.testing.assert_allclose(np.linalg.norm(mine(optim.mgda, rows[None])), 1.0)


def test_the_shortest_of_four_in_libmtl_is_no_shorter(libmtl):
    ratios = []
    for g in jacobians(20):
        try:
            want, _ = run_libmtl(libmtl("MGDA"), g, mgda_gn="none")
        except (AttributeError, TypeError):  # it returned no weights
            continue
        ratios.append(np.linalg.norm(want) / np.linalg.norm(mine(optim.mgda, g[None])))
    assert len(ratios) > 5
    assert min(ratios) > 1 - 1e-5


def test_targets_of_vaccination_in_libmtl_only_fall(libmtl):
    peer, tx = libmtl("GradVac"), optim.gradvac(2)
    alike = jacobians(1, objectives=2)[0]
    alike[1] = alike[0] + 0.3 * alike[1]
    state = tx.init(jnp.zeros(SIZE))
    for _ in range(5):
        run_libmtl(peer, alike, beta=0.5)
        _, state = jax.jit(tx.update)(jnp.asarray(alike, jnp.float32), state)
    assert float(peer.rho_T.max()) == 0.0
    assert state.memory[1][0, 1] > 0.8


def test_the_geometric_mean_of_libmtl_trains_rightly_and_reports_wrongly(libmtl):
    rows, losses = jacobians(1)[0], np.float32([0.5, 2.0, 1.3, 3.0])
    want, reported = run_libmtl(libmtl("GLS"), rows, losses)
    got = mine(optim.generalized_mean_weights, rows[None], value=jnp.asarray(losses))[0]
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    assert np.abs(reported @ rows - want).max() > 0.05


def test_what_the_peers_do_not_solve_exactly_has_its_certificate():
    rows = jacobians(50)
    with jax.enable_x64(True):
        grams = jnp.asarray(rows @ rows.swapaxes(1, 2))
        found = jax.jit(jax.vmap(min_norm_point))(grams)
        averse = jax.jit(jax.vmap(conflict_averse_weights))(grams)
    assert np.max(found.gap) < 1e-12
    for g, weights in zip(rows, np.asarray(averse), strict=True):
        excess = weights - 1 / K
        w = excess / excess.sum()
        mean = g.mean(axis=0)
        bound = w @ g @ mean + 0.5 * np.linalg.norm(mean) * np.linalg.norm(w @ g)
        assert np.isclose((g @ (weights @ g)).min(), bound, rtol=1e-7, atol=1e-9)
