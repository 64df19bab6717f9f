"""What `benchmarks.distances` measures: ways to a distance, each beside the exact one.

`make` gives one cell. Peers from packages are called as their users call them; POT
also by its entry to C, in a loop. The error of a cell is the largest difference from
the same in float64, in units of the largest; of transport, from POT's simplex. Of a
search it is the share of neighbours that are not the nearest.
"""

import math
from collections.abc import Callable
from functools import partial
from importlib import import_module as package
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.cells import Cell
from kexue_jax.algorithms import whitening
from kexue_jax.algorithms.nearest import nearest_by_cosine
from kexue_jax.algorithms.transport_simplex import transport_simplex
from kexue_jax.data.labelled_texts import embedded_texts
from kexue_jax.metrics.costs import euclidean_costs
from kexue_jax.metrics.gaussian import gaussian_kl
from kexue_jax.metrics.gaussian_transport import wasserstein2_squared
from kexue_jax.metrics.knn_entropy import knn_entropy
from kexue_jax.metrics.sinkhorn import sinkhorn
from kexue_jax.metrics.text_search import nearest_texts
from kexue_jax.metrics.word_movers import (
    word_movers_distance,
    word_rotators_distance,
)

PAIRS, LEAST, MOST, SIZE = 1000, 10, 40, 300  # of sentences, their words, dimensions
REPEATS = 100  # single problems, so that a clock can tell
ROWS, WIDE, KEPT = 100_000, 768, 256  # of a corpus: vectors, entries, components
QUERIES, FOUND = 1000, 10  # searched in it, and neighbours of each
TWEETS, VOTERS = 30, 7  # whose neighbours among all others are found, and how many


def make(kind: str, way: str, size: int) -> Cell:
    """Returns a cell.

    Args:
      kind: "movers", "rotators", "pair", "square", "sinkhorn", "bures", "bures
        gradient", "kl gradient" or "entropy".
      way: a name of that kind.
      size: rows of a problem, or dimensions; not looked at for sentences.
    """
    made = {
        "movers": _texts,
        "rotators": _texts,
        "pair": _pair,
        "square": _square,
        "sinkhorn": _sinkhorn,
        "bures": _gaussian,
        "bures gradient": _gaussian,
        "kl gradient": _gaussian,
        "entropy": _entropy,
        "tweets": _tweets,
        "fit": _whitening,
        "transform": _whitening,
        "search": _search,
    }[kind]
    return made(kind, way, size, np.random.default_rng(0))


def _ready(function: Callable, *arrays: Any) -> Callable[[], Any]:
    """A compiled call that waits for its result."""
    made = jax.tree.map(jnp.asarray, arrays)
    compiled = jax.jit(function).lower(*made).compile()
    compiled(*made)  # what is compiled at the first call is, too
    return lambda: jax.block_until_ready(compiled(*made))


def _apart(found: Any, want: Any) -> float:
    want = np.asarray(want, np.float64)
    return float(
        np.abs(np.asarray(found, np.float64) - want).max() / np.abs(want).max()
    )


def sentences(rng) -> tuple[np.ndarray, ...]:
    """Pairs of sentences that share words: vectors ``[PAIRS, MOST, SIZE]``, weights.

    Words come as often as 1 / (rank + 2.7), the law of Zipf and Mandelbrot: the most
    frequent of 3,000 is one in twenty.
    """
    table = rng.standard_normal((3000, SIZE)).astype(np.float32)
    table *= rng.uniform(0.5, 2.0, (3000, 1)).astype(np.float32)
    often = 1.0 / (np.arange(3000) + 3.7)
    sides = []
    for _ in range(2):
        words = rng.choice(3000, (PAIRS, MOST), p=often / often.sum())
        weight = np.arange(MOST) < rng.integers(LEAST, MOST + 1, (PAIRS, 1))
        sides += [table[words], weight.astype(np.float32)]
    return sides[0], sides[2], sides[1], sides[3]


def _pot_pair(x, y, kind):
    """Masses and costs of one pair of sentences as a user of POT makes them."""
    if kind == "movers":
        p, q = np.full(len(x), 1 / len(x)), np.full(len(y), 1 / len(y))
        return p, q, package("ot").dist(x, y, "euclidean")
    sizes = [np.linalg.norm(a, axis=1).astype(np.float64) for a in (x, y)]
    cosine = (x / sizes[0][:, None]) @ (y / sizes[1][:, None]).T
    return *(s / s.sum() for s in sizes), 1.0 - cosine


def _pot_c(p, q, cost):
    plan, *_ = package("ot.lp.emd_wrap").emd_c(
        p, q, np.ascontiguousarray(cost, np.float64), 100000, 1
    )
    return (plan * cost).sum()


def _pot_user(p, q, cost):
    return package("ot").emd2(p, q, cost)


POT = {"POT emd2": _pot_user, "POT's entry to C": _pot_c}


def _gensim(x, y, words):
    """WMD of gensim, whose texts are lists of words of one table."""
    rows = np.unique(np.concatenate([x.reshape(-1, SIZE), y.reshape(-1, SIZE)]), axis=0)
    number = {row.tobytes(): str(at) for at, row in enumerate(rows)}
    table = package("gensim.models").KeyedVectors(SIZE)
    table.add_vectors(list(number.values()), rows)
    texts = [
        [[number[v.tobytes()] for v in a[m]] for a, m in zip(side, kept, strict=True)]
        for side, kept in zip((x, y), words, strict=True)
    ]

    def run():
        pairs = zip(*texts, strict=True)
        return np.array([table.wmdistance(a, b, norm=False) for a, b in pairs])

    return run


def _texts(kind, way, size, rng) -> Cell:
    del size
    x, y, p, q = sentences(rng)
    words = [w.astype(bool) for w in (p, q)]

    def peer(solve):
        rows = zip(x, y, *words, strict=True)
        return np.array([solve(*_pot_pair(a[m], b[n], kind)) for a, b, m, n in rows])

    def check(found):
        found = found[0] if isinstance(found, tuple) else found
        return _apart(np.asarray(found)[:50], wide)

    exact = [a[:50].astype(np.float64) for a in (x, y)]
    wide = [
        _pot_user(*_pot_pair(one[left], other[right], kind))
        for one, other, left, right in zip(*exact, words[0], words[1], strict=False)
    ]
    if way in POT:
        return Cell(partial(peer, POT[way]), check)
    if way == "gensim":
        return Cell(_gensim(x, y, words), check)
    distance = {"movers": word_movers_distance, "rotators": word_rotators_distance}[
        kind
    ]
    if way == "ours":
        return Cell(_ready(distance, x, y, p, q), check)

    def with_gradient(x, y, p, q):
        found, back = jax.vjp(lambda x, y: distance(x, y, p, q), x, y)
        return found, back(jnp.ones_like(found))

    return Cell(_ready(with_gradient, x, y, p, q), check)


def _problem(size, rng, uniform=False):
    x, y = rng.standard_normal((2, size, 8))
    cost = np.linalg.norm(x[:, None] - y[None], axis=-1)
    p, q = np.ones((2, size)) if uniform else rng.random((2, size)) + 0.1
    return cost, p / p.sum(), q / q.sum()


def _ours(cost, p, q):
    plan, *_ = transport_simplex(cost[None], p[None], q[None], workers=1)
    return (plan[0] * cost).sum()


def _assigned(solve, cost, p, q):
    del p, q
    columns = solve(cost)
    return cost[np.arange(len(cost)), columns].sum() / len(cost)


def _one_by_one(solve, problems) -> Cell:
    """A call for each problem; all are different, or branches would be foretold."""
    want = [_pot_user(p, q, cost) for cost, p, q in problems]
    solve(*problems[0])

    def run():
        return np.array([solve(*problem) for problem in problems])

    return Cell(run, lambda found: _apart(found, want))


def _pair(kind, way, size, rng) -> Cell:
    del kind
    ways = {name: _from_cost(solve) for name, solve in POT.items()} | {"ours": _ours}
    problems = [_problem(size, rng) for _ in range(REPEATS)]
    return _one_by_one(ways[way], problems)


def _from_cost(solve):
    return lambda cost, p, q: solve(p, q, cost)


def _square(kind, way, size, rng) -> Cell:
    del kind
    ways = {
        "ours": _ours,
        "lap.lapjv": partial(_assigned, lambda cost: package("lap").lapjv(cost)[1]),
        "SciPy": partial(
            _assigned,
            lambda cost: package("scipy.optimize").linear_sum_assignment(cost)[1],
        ),
        **{name: _from_cost(solve) for name, solve in POT.items()},
    }
    problems = [_problem(size, rng, uniform=True) for _ in range(REPEATS)]
    return _one_by_one(ways[way], problems)


def _sinkhorn(kind, way, size, rng) -> Cell:
    """The padded batch of sentences; `size` is one over epsilon, of the mean cost."""
    del kind
    x, y, p, q = sentences(rng)
    p, q = (w / w.sum(1, keepdims=True) for w in (p, q))
    cost = np.asarray(euclidean_costs(jnp.asarray(x), jnp.asarray(y)))
    epsilon = float(cost.mean()) / size
    plan, *_ = transport_simplex(*(a.astype(np.float64) for a in (cost, p, q)))
    exact = np.einsum("bmn,bmn->b", plan, cost.astype(np.float64))

    def check(found):
        return _apart(found, exact)

    if way == "ours":
        return Cell(
            _ready(lambda c, p, q: sinkhorn(c, p, q, epsilon=epsilon).cost, cost, p, q),
            check,
        )
    geometry = package("ott.geometry.geometry").Geometry
    solve = package("ott.solvers.linear").solve

    def one(cost, p, q):
        made = geometry(cost_matrix=cost, epsilon=epsilon)
        found = solve(made, a=p, b=q, threshold=1e-4, max_iterations=10000)
        return jnp.sum(found.matrix * cost)

    return Cell(_ready(jax.vmap(one), cost, p, q), check)


def _normals(size, rng):
    count, made = 1000 if size < 200 else 100, []
    for _ in range(2):
        root = rng.standard_normal((count, size, size))
        cov = root @ root.transpose(0, 2, 1) / size + 0.1 * np.eye(size)
        made += [rng.standard_normal((count, size)), cov]
    return made


def _bures_exact(mean_p, cov_p, mean_q, cov_q):
    lower = np.linalg.cholesky(cov_p)
    inner = lower.transpose(0, 2, 1) @ cov_q @ lower
    roots = np.sqrt(np.maximum(np.linalg.eigvalsh(inner), 0.0)).sum(1)
    traces = np.trace(cov_p + cov_q, axis1=1, axis2=2)
    return ((mean_p - mean_q) ** 2).sum(1) + traces - 2 * roots


def _ott_bures(mean_p, cov_p, mean_q, cov_q):
    cost = package("ott.geometry.costs").Bures(dimension=mean_p.shape[-1])
    x, y = (
        jnp.concatenate([mean, cov.reshape(len(mean), -1)], axis=1)
        for mean, cov in ((mean_p, cov_p), (mean_q, cov_q))
    )
    return jax.vmap(cost)(x, y)


def _plain_kl(mean_p, cov_p, mean_q, cov_q):
    """The formula as one writes it, for automatic differentiation."""
    own, other = jnp.linalg.cholesky(cov_p), jnp.linalg.cholesky(cov_q)
    solve = partial(jax.lax.linalg.triangular_solve, left_side=True, lower=True)
    shift = solve(other, (mean_p - mean_q)[..., None])
    ratio = solve(other, own)
    logs = [jnp.log(jnp.diagonal(x, axis1=-2, axis2=-1)).sum(-1) for x in (own, other)]
    whole = (shift**2).sum((-2, -1)) + (ratio**2).sum((-2, -1)) - mean_p.shape[-1]
    return 0.5 * whole + logs[1] - logs[0]


def _torch_bures(mean_p, cov_p, mean_q, cov_q):
    torch = package("torch")
    lower = torch.linalg.cholesky(cov_p)
    roots = torch.linalg.eigvalsh(lower.mT @ cov_q @ lower).clamp_min(0).sqrt()
    traces = (cov_p + cov_q).diagonal(dim1=-2, dim2=-1).sum(-1)
    return ((mean_p - mean_q) ** 2).sum(-1) + traces - 2 * roots.sum(-1)


def _torch_kl(mean_p, cov_p, mean_q, cov_q):
    torch = package("torch")
    normal = torch.distributions.MultivariateNormal
    return torch.distributions.kl_divergence(
        normal(mean_p, cov_p, validate_args=False),
        normal(mean_q, cov_q, validate_args=False),
    )


def _gaussian(kind, way, size, rng) -> Cell:
    wide = _normals(size, rng)
    arrays = [x.astype(np.float32) for x in wide]
    gradient, bures = kind.endswith("gradient"), kind.startswith("bures")

    def exact():
        if not gradient:
            return _bures_exact(*wide)
        with jax.enable_x64(True):
            made = [jnp.asarray(x[:50]) for x in wide]
            function = wasserstein2_squared if bures else gaussian_kl
            return jax.grad(lambda *a: function(*a).sum(), 1)(*made)

    def check(found):
        if gradient:
            slope = np.asarray(found[1][1])[:50]
            slope = 0.5 * (slope + slope.transpose(0, 2, 1))
            return _apart(slope, exact())
        return _apart(found, exact())

    ours = {
        "ours": wasserstein2_squared if bures else gaussian_kl,
        "ott-jax": _ott_bures,
        "plain JAX": _plain_kl,
    }
    if way in ours:
        function = ours[way]
        if not gradient:
            return Cell(_ready(function, *arrays), check)

        def with_gradient(*arrays):
            found, back = jax.vjp(function, *arrays)
            return found, back(jnp.ones_like(found))

        return Cell(_ready(with_gradient, *arrays), check)
    if way == "NumPy":
        return Cell(partial(_bures_exact, *arrays), check)
    torch = package("torch")
    function = _torch_bures if bures else _torch_kl
    leaves = [torch.tensor(x, requires_grad=gradient) for x in arrays]

    def run():
        found = function(*leaves)
        if not gradient:
            return found.numpy()
        slopes = torch.autograd.grad(found.sum(), leaves)
        return found.detach().numpy(), tuple(s.numpy() for s in slopes)

    return Cell(run, check)


def _entropy(kind, way, size, rng) -> Cell:
    del kind
    x = rng.standard_normal((20000, size)).astype(np.float32)
    ball = 0.5 * size * math.log(math.pi) - math.lgamma(0.5 * size + 1)
    ball += np.euler_gamma

    def from_distances(far):
        count = len(far)
        return size * np.log(far).mean() + ball + np.log(count) - 0.5 / count

    def tree():
        return from_distances(
            package("scipy.spatial").KDTree(x).query(x, 2, workers=-1)[0][:, 1]
        )

    def brute():
        make = package("sklearn.neighbors").NearestNeighbors
        found = make(n_neighbors=2, algorithm="brute").fit(x)
        return from_distances(found.kneighbors(x)[0][:, 1])

    def plain(x):
        """All distances at once, row blocks apart, and their two least by top_k."""

        def some(rows):
            square = (rows**2).sum(1)[:, None] + (x**2).sum(1)[None] - 2 * rows @ x.T
            return -jax.lax.top_k(-square, 2)[0][:, 1]

        least = jax.lax.map(some, x.reshape(40, -1, size)).reshape(-1)
        return 0.5 * size * jnp.log(jnp.maximum(least, 1e-12)).mean()

    want = brute() if size > 8 else tree()
    offset = ball + np.log(len(x)) - 0.5 / len(x)
    if way == "ours":
        return Cell(_ready(knn_entropy, x), lambda found: _apart(found, want))
    if way == "plain lax.top_k":
        run = _ready(plain, x)
        return Cell(run, lambda found: _apart(found + offset, want))
    run = {"SciPy KDTree": tree, "scikit-learn": brute}[way]
    return Cell(run, lambda found: _apart(found, want))


def _tweets(kind, way, size, rng) -> Cell:
    """The nearest tweets of some by WMD, of all but themselves."""
    del kind, size
    texts = embedded_texts()
    order = rng.permutation(len(texts.label))
    x, w = texts.vectors[order], texts.weight[order].astype(np.float64)
    split = (x[:TWEETS], w[:TWEETS], x[TWEETS:], w[TWEETS:])

    def all_distances(solve, x=x):
        words = w > 0
        far = [
            [
                solve(*_pot_pair(a[m], b[n], "movers"))
                for b, n in zip(x[TWEETS:], words[TWEETS:], strict=True)
            ]
            for a, m in zip(x[:TWEETS], words[:TWEETS], strict=True)
        ]
        return np.sort(far, axis=1)[:, :VOTERS]

    want = all_distances(_pot_c, x.astype(np.float64))

    def check(found):
        return _apart(found, want)

    if way == "ours":

        def ours():
            return nearest_texts(*split, k=VOTERS).distance

        ours()
        return Cell(ours, check)
    return Cell(partial(all_distances, POT[way]), check)


def _vectors(count, rng):
    """Vectors around a mean far from 0, whose variances fall by a power."""
    scale = (np.arange(1, WIDE + 1) ** -0.5).astype(np.float32)
    return rng.standard_normal((count, WIDE), dtype=np.float32) * scale + 1.0


def _whitening(kind, way, size, rng) -> Cell:
    """`fit` on a corpus, or `transform` of it, to `KEPT` components."""
    del size
    x = _vectors(ROWS, rng)

    def fitted(x):
        return whitening.fit(whitening.update(whitening.empty_moments(WIDE), x), KEPT)

    def check(found):
        """How far the covariance of what was transformed is from a multiple of I."""
        spread = np.cov(np.asarray(found, np.float64), rowvar=False)
        return float(np.abs(spread / np.diag(spread).mean() - np.eye(KEPT)).max())

    def recipe():
        """The published lines of NumPy, by a decomposition of the covariance."""
        mean = x.mean(axis=0, keepdims=True)
        u, variance, _ = np.linalg.svd(np.cov(x.T))
        return (u @ np.diag(variance**-0.5))[:, :KEPT].astype(np.float32), -mean

    def learn():
        return (
            package("sklearn.decomposition")
            .PCA(KEPT, whiten=True, svd_solver="covariance_eigh")
            .fit(x)
        )

    def train():
        made = package("faiss").PCAMatrix(WIDE, KEPT, -0.5)
        made.train(x)
        return made

    if way == "ours":
        if kind == "fit":
            fit = _ready(fitted, x)
            return Cell(fit, lambda found: check(whitening.apply(found, x)))
        made = jax.jit(fitted)(x)
        return Cell(_ready(whitening.apply, made, x), check)
    if way == "scikit-learn":
        if kind == "fit":
            return Cell(learn, lambda found: check(found.transform(x)))
        made = learn()
        return Cell(lambda: made.transform(x), check)
    if way == "faiss":
        if kind == "fit":
            return Cell(train, lambda found: check(found.apply(x)))
        made = train()
        return Cell(lambda: made.apply(x), check)
    if kind == "fit":
        return Cell(recipe, lambda found: check((x + found[1]) @ found[0]))
    kernel, bias = recipe()
    return Cell(lambda: (x + bias) @ kernel, check)


def _search(kind, way, size, rng) -> Cell:
    """The vectors of a corpus with the greatest cosines."""
    del kind, size
    x = _vectors(ROWS + QUERIES, rng) - 1.0
    corpus, queries = x[QUERIES:], x[:QUERIES]
    unit = [a / np.linalg.norm(a, axis=1, keepdims=True) for a in (queries, corpus)]
    exact = unit[0][:50].astype(np.float64) @ unit[1].astype(np.float64).T
    want = np.argpartition(-exact, FOUND)[:, :FOUND]

    def check(found):
        pairs = zip(np.asarray(found)[:50], want, strict=True)
        return 1.0 - np.mean([len(set(a) & set(b)) / FOUND for a, b in pairs])

    if way == "faiss":
        index = package("faiss").IndexFlatIP(WIDE)
        index.add(unit[1])
        return Cell(lambda: index.search(unit[0], FOUND)[1], check)
    if way == "plain lax.top_k":

        def plain(queries, corpus):
            return jax.lax.top_k(queries @ corpus.T, FOUND)[1]

        return Cell(_ready(plain, *unit), check)

    def ours(queries, corpus):
        return nearest_by_cosine(queries, corpus, k=FOUND).index

    return Cell(_ready(ours, queries, corpus), check)
