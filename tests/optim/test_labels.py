import jax
import jax.numpy as jnp
import numpy as np
import optax

from kexue_jax.optim.labels import by_name

PARAMS = {"blocks": {"0": {"kernel": jnp.ones(2), "scale": jnp.ones(2)}}}
RULES = (("kernel", "matrix"), ("blocks/0", "first"))


def test_the_first_rule_that_fits_gives_the_label():
    got = by_name(PARAMS | {"embedding": jnp.ones(2)}, rules=RULES, otherwise="rest")
    want = {"blocks": {"0": {"kernel": "matrix", "scale": "first"}}}
    assert got == want | {"embedding": "rest"}


def test_labels_send_leaves_to_their_transforms():
    tx = optax.partition(
        {"matrix": optax.scale(2.0), "rest": optax.scale(3.0)},
        lambda params: by_name(params, rules=RULES[:1], otherwise="rest"),
    )
    updates, _ = tx.update(PARAMS, tx.init(PARAMS), PARAMS)
    want = {"blocks": {"0": {"kernel": jnp.full(2, 2.0), "scale": jnp.full(2, 3.0)}}}
    jax.tree.map(np.testing.assert_array_equal, updates, want)
