"""Positions that have parameters: added, turning queries and keys, or biasing scores.

They are named in a config where a function of `kexue_jax.position` could stand; the
model makes them.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from kexue_jax.position.alibi import alibi_bias, alibi_slopes
from kexue_jax.position.frequencies import rotary_frequencies
from kexue_jax.position.learned import hierarchical_table, learned
from kexue_jax.position.recursive import flow
from kexue_jax.position.rotary import rotary
from kexue_jax.position.t5 import t5_bias, t5_bias_causal
from kexue_jax.position.untied import untied_bias, untied_front


class LearnedPositions(nnx.Module):
    """A trained vector for each place, up to a greatest length."""

    def __init__(
        self, *, features: int, length: int, scale: float = 0.02, rngs: nnx.Rngs
    ):
        """Draws ``[length, features]`` with deviation `scale`."""
        self.table = nnx.Param(
            scale * jax.random.normal(rngs.params(), (length, features))
        )

    def __call__(self, positions: jax.Array) -> jax.Array:
        """Returns ``[T, D]`` or ``[B, T, D]`` for `positions` ``[T]`` or ``[B, T]``."""
        return learned(self.table[...], positions)


class HierarchicalPositions(nnx.Module):
    """A trained table of n places, read as two digits beyond its end: n squared."""

    def __init__(
        self,
        *,
        features: int,
        length: int,
        alpha: float = 0.4,
        scale: float = 0.02,
        rngs: nnx.Rngs,
    ):
        """Draws ``[length, features]`` with deviation `scale`; see the function."""
        self.alpha, self.length = alpha, length
        self.table = nnx.Param(
            scale * jax.random.normal(rngs.params(), (length, features))
        )

    def __call__(self, positions: jax.Array) -> jax.Array:
        """Returns ``[T, D]`` or ``[B, T, D]`` for `positions` ``[T]`` or ``[B, T]``."""
        most = self.length**2
        table = hierarchical_table(self.table[...], length=most, alpha=self.alpha)
        return learned(table, positions)


class FlowPositions(nnx.Module):
    """Positions along a trained flow, so that their number need not be known.

    The field is a perceptron of the position and the time, small at first.
    """

    def __init__(
        self,
        *,
        features: int,
        length: int,
        hidden: int = 32,
        steps: int = 2,
        rngs: nnx.Rngs,
    ):
        """Makes the field; `length` positions are solved for, `steps` between two."""
        self.length, self.steps = length, steps
        self.start = nnx.Param(0.02 * jax.random.normal(rngs.params(), (features,)))
        self.widen = nnx.Linear(features + 1, hidden, rngs=rngs)
        self.narrow = nnx.Linear(
            hidden, features, kernel_init=nnx.initializers.normal(0.02), rngs=rngs
        )

    def __call__(self, positions: jax.Array) -> jax.Array:
        """Returns ``[T, D]`` or ``[B, T, D]`` for `positions` ``[T]`` or ``[B, T]``."""

        def field(time, position):
            late = jnp.reshape(time / self.length, (1,)).astype(position.dtype)
            read = jnp.concatenate([position, late])
            return self.narrow(jnp.tanh(self.widen(read)))

        start = self.start[...]
        table = flow(field, start, length=self.length, steps=self.steps)
        return learned(table.astype(start.dtype), positions)


class TrainedRotary(nnx.Module):
    """Rotary positions whose frequencies are trained, all heads alike.

    What is trained is their logarithm, so that a step changes slow and fast ones by the
    same share and none becomes negative.
    """

    def __init__(
        self, *, heads: int, head_size: int, base: float = 10000.0, rngs: nnx.Rngs
    ):
        """Begins with the frequencies of `base`; nothing is drawn."""
        del heads, rngs  # the frequencies do not depend on them
        theta = rotary_frequencies(head_size, base=base)
        self.log_frequencies = nnx.Param(jnp.log(jnp.asarray(theta, jnp.float32)))

    def __call__(self, features: jax.Array, positions: jax.Array) -> jax.Array:
        """Returns ``[B, T, N, H]`` as `rotary` does, in the dtype of `features`."""
        theta = jnp.exp(self.log_frequencies[...].astype(jnp.float32))
        return rotary(features, positions, frequencies=theta)


class AlibiBias(nnx.Module):
    """The fixed penalty on distance, steeper from head to head; no parameters."""

    def __init__(self, *, heads: int, head_size: int, rngs: nnx.Rngs):
        """Takes the slopes of `alibi_slopes`; the rest is not needed."""
        del head_size, rngs  # nothing is drawn
        self.heads = heads

    def __call__(
        self, query_positions: jax.Array, key_positions: jax.Array
    ) -> jax.Array:
        """Returns ``[1 or B, N, T, S]`` float32."""
        return alibi_bias(alibi_slopes(self.heads), query_positions, key_positions)


class BucketBias(nnx.Module):
    """A trained number for each head and bucket of distances, as in T5."""

    def __init__(
        self,
        *,
        heads: int,
        head_size: int,
        buckets: int = 32,
        max_distance: int = 128,
        is_causal: bool = False,
        rngs: nnx.Rngs,
    ):
        """Draws ``[buckets, heads]``; all buckets are for the past if `is_causal`."""
        del head_size  # the bias does not depend on it
        self.max_distance = max_distance
        self.bias = t5_bias_causal if is_causal else t5_bias
        self.table = nnx.Param(
            0.02 * jax.random.normal(rngs.params(), (buckets, heads))
        )

    def __call__(
        self, query_positions: jax.Array, key_positions: jax.Array
    ) -> jax.Array:
        """Returns ``[1 or B, N, T, S]`` float32."""
        return self.bias(
            self.table[...],
            query_positions,
            key_positions,
            max_distance=self.max_distance,
        )


class UntiedBias(nnx.Module):
    """Products of trained places with each other, apart from the content (TUPE).

    Bind ``scale=(2 * head_size) ** -0.5`` to the attention that adds it.
    """

    def __init__(
        self,
        *,
        heads: int,
        head_size: int,
        length: int,
        features: int = 64,
        has_front: bool = False,
        rngs: nnx.Rngs,
    ):
        """Draws `length` places of `features` numbers, normalised, and two projections.

        With `has_front` position 0 is a symbol such as [CLS], with numbers of its own.
        """
        self.places = LearnedPositions(
            features=features, length=length, scale=1.0, rngs=rngs
        )
        self.norm = nnx.LayerNorm(features, rngs=rngs)
        shape = (features, heads, head_size)
        self.query, self.key = (
            nnx.Param(features**-0.5 * jax.random.normal(rngs.params(), shape))
            for _ in range(2)
        )
        self.front = nnx.Param(jnp.zeros((2, heads))) if has_front else None

    def __call__(
        self, query_positions: jax.Array, key_positions: jax.Array
    ) -> jax.Array:
        """Returns ``[1 or B, N, T, S]`` float32; places before the first are as it."""
        query, key = (
            jnp.einsum(
                "...d,dnh->...nh", self.norm(self.places(jnp.maximum(at, 0))), kernel
            )
            for at, kernel in (
                (query_positions, self.query[...]),
                (key_positions, self.key[...]),
            )
        )
        bias = untied_bias(query, key)
        if self.front is None:
            return bias
        of, to = self.front[...]
        return untied_front(
            bias, query_positions, key_positions, first_query=of, first_key=to
        )
