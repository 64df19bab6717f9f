"""Task: the constants of activations, found anew by optimisation."""

import jax
import jax.numpy as jnp
import numpy as np

from kexue_jax.algorithms import activation_constants as constants
from kexue_jax.algorithms import activations
from kexue_jax.exhibits import Curves, Series, Table
from kexue_jax.tasks.analysis import Analysis, Measured


class ActivationConstants(Analysis):
    """Derives every constant, and measures each form against what it stands for.

    Scores: ``constant/<name>`` are the numbers found; ``error/<form>`` is the greatest
    difference of a form from GELU in float32, and of SquarePlus from SoftPlus.
    """

    def measure(self, rng: jax.Array) -> Measured:
        """Returns the scores, a table and the errors as curves; nothing is random."""
        del rng
        best = {
            "gelu_tanh": constants.gelu_tanh_constant(),
            "gelu_sigmoid": constants.gelu_sigmoid_constant(),
            "squareplus": constants.squareplus_constant(),
            "algebraic_swish": constants.algebraic_swish_constant(),
        }
        both = constants.gelu_minimax_constants()
        scores = {f"constant/{k}": float(v.parameters[0]) for k, v in best.items()}
        scores |= {
            "constant/gelu_minimax_linear": float(both.parameters[0]),
            "constant/gelu_minimax_cubic": float(both.parameters[1]),
            "constant/gelu_tanh_local": constants.gelu_tanh_local_constant(),
            "constant/squareplus_bound": constants.squareplus_bound_constant(),
        }
        x = np.linspace(-8.0, 8.0, 16001, dtype=np.float32)
        wide = jnp.asarray(x)
        exact, soft = activations.gelu(wide), jax.nn.softplus(wide)
        local = constants.gelu_tanh_local_constant()
        linear, cubic = (float(value) for value in both.parameters)
        nearest = scores["constant/squareplus"]
        forms = {
            "gelu_tanh": activations.gelu_tanh(wide) - exact,
            "gelu_tanh_local": activations.gelu_tanh(wide, cubic=local) - exact,
            "gelu_sigmoid": activations.gelu_sigmoid(wide) - exact,
            "gelu_minimax": activations.gelu_minimax(wide, linear=linear, cubic=cubic)
            - exact,
            "squareplus_4": activations.squareplus(wide, 4.0) - soft,
            "squareplus_best": activations.squareplus(wide, nearest) - soft,
        }
        errors = {name: np.asarray(change) for name, change in forms.items()}
        scores |= {f"error/{k}": float(np.abs(v).max()) for k, v in errors.items()}
        rows = [[name.split("/")[1], value] for name, value in scores.items()]
        return Measured(
            scores,
            [
                Table("Constants, then greatest errors", ["name", "value"], rows),
                Curves(
                    "Errors of the forms of GELU",
                    [Series(k, x[::20], v[::20]) for k, v in list(errors.items())[:4]],
                    "x",
                    "difference from GELU",
                ),
                Curves(
                    "SquarePlus less SoftPlus",
                    [Series(k, x[::20], v[::20]) for k, v in list(errors.items())[4:]],
                    "x",
                    "difference",
                ),
            ],
        )
