"""Any attention function of the house in Flax's own layer."""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx


def attention_fn(attention: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """Makes an attention function the `attention_fn` of `nnx.MultiHeadAttention`.

    Args:
      attention: ``(query, key, value, mask, ...) -> output`` on ``[B, T, N, H]``;
        hyperparameters are bound before by `functools.partial`.

    Returns:
      A function with the arguments of `nnx.dot_product_attention`. Batch axes may be
      none or many, a mask also numbers, of which those not 0 keep a key. It raises a
      ValueError where it is asked for what `attention` cannot do: dropout of weights,
      weights to be sown, a `precision`, a bias or a causal mask for which `attention`
      has no argument, and a causal mask of unequal lengths, which stands at the last
      key here and at the first one in Flax.

    >>> from kexue_jax.attention.softmax import softmax_attention
    >>> layer = nnx.MultiHeadAttention(
    ...     2, 4, attention_fn=attention_fn(softmax_attention), decode=False,
    ...     rngs=nnx.Rngs(0),
    ... )
    >>> layer(jnp.ones((1, 3, 4))).shape
    (1, 3, 4)
    """
    parameters = inspect.signature(attention).parameters

    def adapted(
        query: jax.Array,
        key: jax.Array,
        value: jax.Array,
        bias: jax.Array | None = None,
        mask: jax.Array | None = None,
        *,
        dropout_rng: jax.Array | None = None,
        dropout_rate: float = 0.0,
        broadcast_dropout: bool = True,
        deterministic: bool = False,
        dtype: jnp.dtype | None = None,
        precision: jax.lax.PrecisionLike = None,
        module: nnx.Module | None = None,
        is_causal: bool = False,
    ) -> jax.Array:
        del dropout_rng, broadcast_dropout  # without dropout they say nothing
        refused = {
            f"dropout_rate={dropout_rate}": dropout_rate > 0.0 and not deterministic,
            "sow_weights": module is not None,
            f"precision={precision}": precision is not None,
            "bias": bias is not None and "bias" not in parameters,
            "is_causal": is_causal and "is_causal" not in parameters,
        }
        if any(refused.values()):
            names = ", ".join(name for name, asked in refused.items() if asked)
            raise ValueError(f"{attention} cannot honour {names}")
        if is_causal and query.shape[-3] != key.shape[-3]:
            raise ValueError(
                "is_causal needs as many queries as keys, got "
                f"{query.shape[-3]} and {key.shape[-3]}; give a mask"
            )
        if dtype is not None:
            query, key, value = (x.astype(dtype) for x in (query, key, value))
        batch = query.shape[:-3]
        options: dict[str, Any] = {"is_causal": True} if is_causal else {}
        if bias is not None:
            options["bias"] = _flat(bias, batch)
        if mask is not None:
            mask = _flat(mask if mask.dtype == jnp.bool_ else mask != 0, batch)
        flat = (x.reshape(-1, *x.shape[-3:]) for x in (query, key, value))
        output = attention(*flat, mask, **options)
        return output.reshape(*batch, *output.shape[1:])

    return adapted


def _flat(array: jax.Array, batch: tuple[int, ...]) -> jax.Array:
    """Returns ``[1 or B, N, T, S]`` of a mask or bias of more or fewer axes."""
    array = jnp.expand_dims(array, range(len(batch) + 3 - array.ndim))
    if any(size > 1 for size in array.shape[: len(batch)]):
        array = jnp.broadcast_to(array, (*batch, *array.shape[-3:]))
    return array.reshape(-1, *array.shape[-3:])
