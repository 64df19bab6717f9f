"""Models as nnx modules, and the one door between them and pure functions."""
