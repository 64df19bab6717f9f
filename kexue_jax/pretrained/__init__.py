"""Weights of other libraries: files of theirs, and our parameters filled from them."""

from kexue_jax.pretrained.architectures import Architecture, architecture
from kexue_jax.pretrained.files import WeightsError, read_safetensors
from kexue_jax.pretrained.filling import exported, fill
from kexue_jax.pretrained.loading import (
    Pretrained,
    PretrainedNotFoundError,
    Restored,
    load_pretrained,
    locate,
)
from kexue_jax.pretrained.models import model_of, names_of
from kexue_jax.pretrained.tensorflow_files import read_tensorflow
from kexue_jax.pretrained.torch_files import read_torch
from kexue_jax.pretrained.writing import write_safetensors

__all__ = [
    "Architecture",
    "Pretrained",
    "PretrainedNotFoundError",
    "Restored",
    "WeightsError",
    "architecture",
    "exported",
    "fill",
    "load_pretrained",
    "locate",
    "model_of",
    "names_of",
    "read_safetensors",
    "read_tensorflow",
    "read_torch",
    "write_safetensors",
]
