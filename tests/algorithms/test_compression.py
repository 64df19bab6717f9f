import numpy as np
import pytest

from kexue_jax.algorithms.compression import bits_per_byte, gzip_size, xz_size


@pytest.mark.parametrize("size", [gzip_size, xz_size])
def test_random_bytes_do_not_shrink(size):
    noise = np.random.default_rng(0).integers(0, 256, 20000, np.uint8).tobytes()
    assert 8.0 <= bits_per_byte(size, noise) < 8.2


@pytest.mark.parametrize("size", [gzip_size, xz_size])
def test_what_was_read_before_costs_nothing_again(size):
    noise = np.random.default_rng(0).integers(0, 256, 5000, np.uint8).tobytes()
    assert bits_per_byte(size, noise, before=noise) < 0.3


def test_gzip_does_not_depend_on_the_time_of_day():
    assert gzip_size(b"abc") == gzip_size(b"abc")


def test_an_empty_text_is_refused():
    with pytest.raises(ValueError, match="empty"):
        bits_per_byte(gzip_size, b"", before=b"abc")
