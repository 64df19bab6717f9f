"""The folders of real sets, for tests that are skipped where there are none."""

import pathlib

import pytest

SHARED = pathlib.Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.fixture
def real_set():
    """From the name of a set to its folder; skips the test where it is not."""

    def folder(name):
        if not (SHARED / name).is_dir():
            pytest.skip(f"needs ../shared/data/{name} beside the checkout")
        return SHARED / name

    return folder
