import numpy as np
import pytest

from kexue_jax.train import coordinates
from kexue_jax.train.coordinates import Coordinates, coordinates_figure

AXES = ("optimizer", "rate", "score")
ROWS = (("sgd", 0.1, 2.0), ("adam", 0.001, 1.0), ("adam", None, 3.0))


def places(monkeypatch, shown):
    """Where the lines go, as they are handed to what draws them."""
    found = []
    draw = coordinates._draw
    monkeypatch.setattr(
        coordinates, "_draw", lambda *parts: found.append(parts) or draw(*parts)
    )
    coordinates_figure(shown)
    return found[0][1]


def test_every_axis_goes_from_its_least_to_its_greatest_value(monkeypatch):
    found = places(monkeypatch, Coordinates("t", AXES, ROWS))
    np.testing.assert_allclose(found[0], [0.25, 0.75, 0.75])
    np.testing.assert_allclose(found[1], [1.0, 0.0, np.nan])
    np.testing.assert_allclose(found[2], [0.5, 0.0, 1.0])


def test_a_logarithmic_axis_puts_the_geometric_mean_in_the_middle(monkeypatch):
    rows = [(0.01, 1.0), (1.0, 2.0), (0.1, 3.0)]
    found = places(monkeypatch, Coordinates("t", ("rate", "s"), rows, log=("rate",)))
    np.testing.assert_allclose(found[0], [0.0, 1.0, 0.5], atol=1e-12)


def test_one_value_stands_in_the_middle(monkeypatch):
    found = places(monkeypatch, Coordinates("t", ("a", "s"), [(3, 1.0), (3, 1.0)]))
    np.testing.assert_allclose(found, 0.5)


def test_the_same_data_are_the_same_picture():
    shown = Coordinates("t", AXES, ROWS)
    picture = coordinates_figure(shown)
    assert picture.startswith(b"\x89PNG")
    assert picture == coordinates_figure(shown)
    assert picture != coordinates_figure(shown._replace(low_is_best=False))


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(ValueError, match="row 0 of 't' must have 3 values, got 2"):
        coordinates_figure(Coordinates("t", AXES, [("a", 1.0)]))
    with pytest.raises(ValueError, match="the last axis of 't' must hold numbers"):
        coordinates_figure(Coordinates("t", ("a", "b"), [(1.0, "x")]))


def test_nothing_to_draw_is_an_empty_picture():
    assert coordinates_figure(Coordinates("t", AXES, [])).startswith(b"\x89PNG")
