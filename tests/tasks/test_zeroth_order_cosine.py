import jax
import numpy as np
import pytest

from kexue_jax.data.small_tables import iris
from kexue_jax.tasks.zeroth_order_cosine import KINDS, ZerothOrderCosine

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found():
    made = ZerothOrderCosine(
        data=iris(),
        deviations=(0.3, 1.0),
        temperatures=(1.0,),
        places=2,
        directions=2000,
        estimates=2000,
        policies=20,
    )
    return made, made.init(jax.random.key(3))


def test_the_gradients_are_parallel_and_vary_as_in_theory(found):
    made, state = found
    scores = made.evaluate(*state)
    assert scores["cosine/1"] > 0.8
    assert scores["cosine/1"] == scores["by_temperature/1_1"]
    for estimator, distribution in KINDS:
        for deviation in ("0.3", "1"):
            name = f"variance/{estimator}_{distribution}_{deviation}"
            np.testing.assert_allclose(scores[name], 1.0, atol=0.2)
    assert scores["baseline/optimal"] <= scores["baseline/mean"] + 1e-6
    assert scores["baseline/optimal_is_least"] == 1.0


def test_curves_of_all_of_them_are_shown_and_the_table_is_named(found):
    made, state = found
    cosines, variances, table = made.exhibits(*state)
    assert len(cosines.series) == 2
    assert len(variances.series) == 2 * len(KINDS)
    assert len(table.rows) == 3
    assert made.fingerprint()["rows"] == 150
