"""The run that the tests of reliability kill, stop, starve and damage."""

from ml_collections import ConfigDict

VARIANTS = ("adam", "sgd")


def get_config(variant="adam"):
    here = "tests.reliability.tiny"
    source = dict(
        make=f"{here}:Examples",
        seed=0,
        examples=64,
        batch_size=16,
        file="",
        tokenizer="a",
    )
    task = dict(make=f"{here}:Tiny", source=source, width=16, layers=2, dtype="float32")
    rules = {
        "adam": dict(make="optax:adam", learning_rate=0.003),
        "sgd": dict(make="optax:sgd", learning_rate=0.05, momentum=0.9),
    }
    average = dict(make="kexue_jax.optim:average_weights", decay=0.9)
    optimizer = dict(
        make="kexue_jax.optim.chain:chain",
        order=("rule", "average"),
        rule=rules[variant],
        average=average,
    )
    return ConfigDict(
        dict(
            task=task,
            optimizer=optimizer,
            steps=200,
            log_every=5,
            save_every=20,
            eval_every=25,
            best="held/mse",
            mesh=dict(data=1),
        )
    )
