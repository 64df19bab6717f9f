"""Files of weights, written."""

import os
from collections.abc import Mapping

import numpy as np


def write_safetensors(
    path: str | os.PathLike, arrays: Mapping[str, np.ndarray]
) -> None:
    """Writes arrays as a safetensors file that torch's side reads as well.

    Raises:
      ModuleNotFoundError: if the package safetensors is not installed.
    """
    from safetensors.numpy import save_file

    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    save_file(whole, path, metadata={"format": "pt"})
