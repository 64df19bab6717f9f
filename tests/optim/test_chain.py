import jax
import numpy as np
import optax
import optax.contrib
import pytest

from kexue_jax.optim.chain import chain


def first_update(tx):
    @jax.jit
    def updated(params):
        return tx.update(params, tx.init(params), params)[0]

    return updated({"w": np.array([3.0, 4.0], np.float32)})["w"]


def test_the_order_is_that_of_the_names_not_of_the_parts():
    double, clip = optax.scale(2.0), optax.clip(3.0)
    one = chain(("double", "clip"), clip=clip, double=double)
    two = chain(("clip", "double"), clip=clip, double=double)
    np.testing.assert_allclose(first_update(one), [3.0, 3.0])
    np.testing.assert_allclose(first_update(two), [6.0, 6.0])


def test_equals_the_chain_of_optax():
    parts = dict(clip=optax.clip_by_global_norm(1.0), adam=optax.adam(0.1))
    got = first_update(chain(("clip", "adam"), **parts))
    want = first_update(optax.chain(parts["clip"], parts["adam"]))
    np.testing.assert_allclose(got, want, rtol=1e-6)


@pytest.mark.parametrize(
    ("order", "fault"),
    [
        (("one", "two", "three"), "missing in the chain: three"),
        (("one",), "unused in the chain: two"),
        (("one", "two", "one"), "repeated in the chain: one"),
    ],
)
def test_a_wrong_name_is_named(order, fault):
    with pytest.raises(ValueError, match=fault):
        chain(order, one=optax.identity(), two=optax.identity())


def test_extra_arguments_reach_the_parts():
    tx = chain(("plateau",), plateau=optax.contrib.reduce_on_plateau(patience=1))

    @jax.jit
    def updated(state, value):
        return tx.update({}, state, {}, value=value)[1]

    state = tx.init({})
    for value in (1.0, 2.0, 3.0, 4.0):  # the loss grows, so the scale falls
        state = updated(state, value)
    assert float(optax.tree.get(state, "scale")) < 1.0
