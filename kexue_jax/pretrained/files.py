"""Files of weights and settings, read without trusting them."""

import json
import os
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np


class WeightsError(ValueError):
    """A file of weights is damaged or not of the model that it is read for."""


def read_safetensors(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Returns every array of a safetensors file by its name.

    Raises:
      WeightsError: if the file is cut short or its header is wrong in any way.
      FileNotFoundError: if there is none.
      ModuleNotFoundError: if the package safetensors is not installed.
    """
    try:
        from safetensors import SafetensorError, safe_open
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "safetensors, which reads files of weights, is not installed: install "
            "kexue-jax[encoders]",
            name="safetensors",
        ) from error
    if not os.path.isfile(path):
        raise FileNotFoundError(f"there is no file of weights at {str(path)!r}")
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, AttributeError, TypeError, ValueError) as error:
        raise WeightsError(
            f"{path} is no whole safetensors file that numpy can hold: {error}"
        ) from error


def read_settings(path: str | os.PathLike) -> dict[str, Any]:
    """Returns the object in a JSON file.

    Raises:
      WeightsError: if there is none in it.
      FileNotFoundError: if there is no such file.
    """
    with open(path, "rb") as file:
        content = file.read(2**20 + 1)
    if len(content) > 2**20:
        raise WeightsError(f"{path} must be at most 1 MiB of settings")
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path} is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise WeightsError(f"{path} must hold an object, got {type(found).__name__}")
    return found


def read_parts(
    index: str | os.PathLike, read: Callable[[pathlib.Path], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Returns the arrays of weights in several files, of which `index` is a list.

    Args:
      index: a JSON file with ``weight_map``, from names to files beside it.
      read: what reads one of them.

    Raises:
      WeightsError: if the list names a file elsewhere, or an array is not in its file.
      FileNotFoundError: if a file is absent.
    """
    folder = pathlib.Path(index).parent
    named = read_settings(index).get("weight_map")
    if not isinstance(named, dict) or not named:
        raise WeightsError(f"{index} must hold a weight_map, got {named!r:.80}")
    for file in named.values():
        if not isinstance(file, str) or pathlib.PurePath(file).name != file:
            raise WeightsError(f"{index} must name files beside it, got {file!r:.80}")
    found: dict[str, np.ndarray] = {}
    for file in sorted(set(named.values())):
        arrays = read(folder / file)
        for name in (name for name, home in named.items() if home == file):
            if name not in arrays:
                raise WeightsError(f"{name!r} is not in {file}, as {index} says")
            found[name] = arrays[name]
    return found
