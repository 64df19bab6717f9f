import numpy as np

from kexue_jax.algorithms.roles import is_weight
from kexue_jax.optim import by_role


def test_roles_are_read_from_the_last_name_of_a_path():
    names = {
        "norm": {"scale": "gain", "bias": "bias"},
        "to_scale": {"kernel": "matrix", "output_bias": "bias"},
        "tokens": {"embedding": "embedding", "table": "embedding"},
        "embeddings": {"kernel": "matrix", "gamma": "gain", "beta": "bias"},
    }
    params = {m: {n: np.zeros(()) for n in part} for m, part in names.items()}
    assert by_role(params) == names
    assert is_weight(params)["norm"] == {"scale": False, "bias": False}
    assert is_weight(params)["tokens"] == {"embedding": True, "table": True}
    assert by_role(np.zeros(())) == "matrix"
