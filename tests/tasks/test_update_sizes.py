import jax
import pytest

from kexue_jax.tasks.update_sizes import SHOWN, UpdateSizes


@pytest.mark.slow
def test_steps_and_weights_of_adamw_have_the_predicted_sizes():
    task = UpdateSizes(b1=(0.9,), rates=(0.01,), decays=(0.3,), coordinates=500)
    found = task.measure(jax.random.key(10))
    assert found.scores.keys() == {"step/0.9", "weight/0.01_0.3"}
    assert found.scores["step/0.9"] == pytest.approx(1.0, abs=0.03)
    assert found.scores["weight/0.01_0.3"] == pytest.approx(1.0, abs=0.06)
    table, curves = found.exhibits
    assert [row[3] for row in table.rows] == pytest.approx([0.2294, 0.1291], abs=1e-4)
    assert curves.series[0].y.shape == (SHOWN,)


def test_numbers_out_of_range_are_refused():
    with pytest.raises(ValueError, match=r"must be positive: 0, 6\.0"):
        UpdateSizes(coordinates=0)
