"""Position encodings: pure functions of features and positions."""

from kexue_jax.position.rotary import rotary, rotary_halves

__all__ = ["rotary", "rotary_halves"]
