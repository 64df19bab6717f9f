"""A config that trains nothing: what a trial of a sweep costs beside its run.

Used by `benchmarks.sweeps`.
"""

from ml_collections import ConfigDict


class Nothing:
    """A task with nothing to do."""

    def __init__(self, *, x):
        self.x = x

    def init(self, rng):
        return {}, {}

    def evaluate(self, params, extras):
        return {"x/value": self.x}


def get_config():
    return ConfigDict(
        dict(steps=0, task=dict(make="benchmarks.nothing:Nothing", x=0.0))
    )
