"""x

Claim:  x
Limits: x
Source: https://kexue.fm/archives/7737
Run:    python -m experiments.run --config=configs/losses/hard_skip.py:leave_one_out
Cost:   x
"""

from ml_collections import ConfigDict

VARIANTS = ("leave_one_out", "none", "all", "zeroth")
SMOKE = {"steps": 2}


def get_config(variant="leave_one_out"):
    config = ConfigDict(dict(seed=0, steps=1500, log_every=20, eval_every=150))
    digits = dict(make="kexue_jax.data.images:Digits")
    config.task = dict(
        make="kexue_jax.tasks.skip_reading:SkipReading",
        model=dict(
            bind="kexue_jax.nn.skip_reader:SkipReader",
            columns=8,
            length=8,
            size=48,
            open_bias=2.0,
        ),
        source=dict(digits, train=True, batch_size=100, seed=config.get_ref("seed")),
        held_out=dict(digits, train=False, batch_size=360, seed=0),
        classes=10,
        price=0.3,
        gates={"all": "open", "zeroth": "likeliest"}.get(variant, "drawn"),
        samples=4,
        baseline=variant if variant == "none" else "leave_one_out",
    )
    if variant == "zeroth":
        zeroth = dict(
            bind="kexue_jax.losses.zeroth_order:zeroth_order",
            deviation=0.3,
            directions=8,
            chunk=8,
            leaves=("gate", "gate_bias"),
            others="gradient",
        )
        config.wrap = dict(order=("zeroth",), zeroth=zeroth)
    config.optimizer = dict(make="optax:adam", learning_rate=3e-3)
    return config


def claim(scores):
    return True
