"""Batch normalisation keeps the code of a variational autoencoder in use.

Claim:  with batch normalisation on the encoder's mean and scale, KL stays above
        tau L / 2 = 4 nats on held-out digits and all 16 dimensions of the code are in
        use, where the plain autoencoder, under the same loss, leaves at least half of
        them idle; pictures come back with a smaller error.
Limits: it is no better model: the sum of error and KL, the bound on the likelihood, is
        worse (test/loss), because the KL that the plain one saves is not worth its
        price under this loss. What it buys is a code that says something.
Source: https://kexue.fm/archives/7381
Run:    python -m experiments.run --config=configs/images/vae_batchnorm.py:batchnorm
Cost:   2 variants, 20 s each on two CPU cores.
"""

from ml_collections import ConfigDict

VARIANTS = ("batchnorm", "plain")
SMOKE = {"steps": 2, "task.held_out_batches": 1}


def get_config(variant="batchnorm"):
    room = "kexue_jax.nn.autoencoder"
    head = {
        "plain": dict(bind=f"{room}:PlainHead"),
        "batchnorm": dict(bind=f"{room}:BatchNormHead", tau=0.5),
    }[variant]
    digits = dict(make="kexue_jax.data.images:Digits")
    task = dict(
        make="kexue_jax.tasks.variational:VariationalAutoencoding",
        model=dict(
            bind=f"{room}:VariationalAutoencoder",
            features=64,
            hidden=(256, 256),
            latent=16,
            head=head,
        ),
        source=dict(digits, train=True, batch_size=128, seed=0),
        held_out=dict(test=dict(digits, train=False, batch_size=90, seed=0)),
        held_out_batches=4,
        beta=1.0,
    )
    rate = dict(
        make="optax:cosine_decay_schedule",
        init_value=1e-3,
        decay_steps=4000,
        alpha=0.05,
    )
    return ConfigDict(
        dict(
            seed=0,
            steps=4000,
            log_every=20,
            eval_every=200,
            task=task,
            optimizer=dict(make="optax:adam", learning_rate=rate),
        )
    )


def claim(scores):
    normed, plain = scores["batchnorm"], scores["plain"]
    return {
        "KL stays above the bound": normed["test/kl"] > 4.0,
        "every dimension is in use": normed["test/active"] == 16,
        "half of the plain code is idle": plain["test/active"] <= 8,
        "pictures come back better": normed["test/error"] < plain["test/error"],
    }
