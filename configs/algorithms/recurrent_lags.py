"""DRAFT

Claim:  x
Limits: x
Source: https://kexue.fm/archives/7888
Run:    python -m experiments.run --config=configs/algorithms/recurrent_lags.py:lstm_3
Cost:   x
"""

from ml_collections import ConfigDict

CELLS = {
    "lstm_3": dict(step="lstm_step", biases=(0.0, 3.0, 0.0, 0.0)),
    "lstm_1": dict(step="lstm_step", biases=(0.0, 1.0, 0.0, 0.0)),
    "lstm_0": dict(step="lstm_step", biases=()),
    "gru_3": dict(step="gru_step", biases=(0.0, -3.0, 0.0)),
    "gru_0": dict(step="gru_step", biases=()),
    "minimal_gru_0": dict(step="minimal_gru_step", biases=()),
    "reset_last_3": dict(step="reset_last_step", biases=(0.0, -3.0, 0.0)),
    "reset_last_0": dict(step="reset_last_step", biases=()),
    "simple_tanh": dict(step="simple_step", biases=()),
    "simple_relu": dict(step="simple_step", biases=()),
}
VARIANTS = tuple(CELLS)
SMOKE = {
    "steps": 2,
    "task.data.lags": (2, 3),
    "task.data.held_out_rows": 8,
    "task.model.size": 4,
}


def get_config(variant="lstm_3"):
    room = "kexue_jax"
    cell = CELLS[variant]
    step = dict(bind=f"{room}.algorithms.recurrent:{cell['step']}")
    if variant == "simple_relu":
        step = dict(step, activation=dict(bind="jax.nn:relu"))
    task = dict(
        make=f"{room}.tasks.recurrent_lags:RecurrentLags",
        data=dict(
            make=f"{room}.data.delayed:DelayedSymbol",
            lags=(10, 20, 40, 80),
            batch=32,
            held_out_rows=256,
        ),
        model=dict(
            bind=f"{room}.nn.recurrent:RecurrentClassifier",
            size=32,
            step=step,
            biases=cell["biases"],
        ),
        repeats=2,
    )
    optimizer = dict(
        make=f"{room}.optim.chain:chain",
        order=("clip", "adam"),
        clip=dict(make="optax:clip", max_delta=1.0),
        adam=dict(make="optax:adam", learning_rate=3e-3),
    )
    return ConfigDict(
        dict(seed=0, steps=800, eval_every=200, task=task, optimizer=optimizer)
    )


def claim(scores):
    return {"draft": scores["lstm_3"]["all/solved"] >= 10}
