"""Linear maps with gradients in an order of factors that XLA has fast code for.

The gradient of a kernel is a product over all tokens. On a CPU it is slow where a
factor is read against its order in memory, and so is a transposition of the wider
factor. `benchmarks.encoders` measures a step with these products and without.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _product(inputs, kernel, precision, wide):
    return jnp.matmul(inputs, kernel, precision=precision, preferred_element_type=wide)


def _forward(inputs, kernel, precision, wide):
    return _product(inputs, kernel, precision, wide), (inputs, kernel)


def _backward(precision, wide, factors, change):
    inputs, kernel = factors
    product = partial(jnp.matmul, precision=precision, preferred_element_type=wide)
    into_inputs = product(change, kernel.T).astype(inputs.dtype)
    flat = inputs.reshape(-1, inputs.shape[-1])
    change = change.reshape(-1, change.shape[-1])
    # Without barriers XLA joins transpositions to the product again.
    apart = jax.lax.optimization_barrier
    if flat.shape[1] > change.shape[1]:  # the narrower factor is transposed
        into_kernel = apart(product(apart(change.T), flat)).T
    else:
        into_kernel = product(apart(flat.T), change)
    return into_inputs, into_kernel.astype(kernel.dtype)


_product.defvjp(_forward, _backward)


def linear_product(
    inputs: jax.Array,
    kernel: jax.Array,
    dimension_numbers: Any,
    precision: Any = None,
    preferred_element_type: Any = None,
    out_sharding: None = None,
) -> jax.Array:
    """The product of a linear map, in place of `jax.lax.dot_general` in `nnx.Linear`.

    The result and both gradients are the same but for rounding. There is no
    forward-mode derivative.

    Args:
      inputs: ``[..., D]``.
      kernel: ``[D, F]``.
      dimension_numbers: those of that product alone.
      precision, preferred_element_type: as in `jax.lax.dot_general`.
      out_sharding: None.

    Returns:
      ``[..., F]``.

    Raises:
      ValueError: for another product, or an `out_sharding`.

    >>> linear_product(jnp.ones((2, 3)), jnp.ones((3, 1)), (((1,), (0,)), ((), ())))
    Array([[3.],
           [3.]], dtype=float32)
    """
    (contracted, batched) = dimension_numbers
    fits = kernel.ndim == 2 and tuple(map(tuple, contracted)) == (
        (inputs.ndim - 1,),
        (0,),
    )
    if not fits or any(map(len, batched)) or out_sharding is not None:
        raise ValueError(
            "linear_product must be that of [..., D] and [D, F], without out_sharding; "
            f"got {inputs.shape}, {kernel.shape}, {dimension_numbers}, {out_sharding}"
        )
    return _product(inputs, kernel, precision, preferred_element_type)


def with_linear_products(maker: Callable[..., nnx.Module]) -> Callable[..., nnx.Module]:
    """Returns a maker of the same model with `linear_product` in each `nnx.Linear`.

    Parameters and their names are the same. It is for training on CPUs.

    Args:
      maker: called as ``maker(rngs=)``, such as `Pretrained.model` gives, or with more.
    """

    def made(*args: Any, rngs: nnx.Rngs, **options: Any) -> nnx.Module:
        model = maker(*args, rngs=rngs, **options)
        for _, part in nnx.iter_graph(model):
            if isinstance(part, nnx.Linear):
                part.dot_general = linear_product
        return model

    return made
