import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

from experiments import configs, runner
from kexue_jax.build import BuildError
from kexue_jax.train.checkpoint import CheckpointError

HERE = "tests.experiments.test_runner"


class Line:
    """Fits y = a x; evaluation says how far a is from 3."""

    def __init__(self, *, batch_size=8, source=None):
        self.batch_size, self.source = batch_size, source

    def init(self, rng):
        return {"a": jax.random.normal(rng, (2,))}, {}

    def batch(self, step):
        x = np.random.default_rng(step).normal(size=(self.batch_size, 2))
        return {"x": x.astype(np.float32), "y": (3 * x.sum(1)).astype(np.float32)}

    def loss(self, params, extras, batch, rng):
        loss = jnp.mean(jnp.square(batch["x"] @ params["a"] - batch["y"]))
        return loss, (extras, {})

    def evaluate(self, params, extras):
        return {"line/error": float(jnp.sum(jnp.abs(params["a"] - 3.0)))}

    def predict(self, params, extras, inputs):
        return np.asarray(inputs @ params["a"])

    def fingerprint(self):
        return {"slope": 3, "batch_size": self.batch_size}


def double(loss):
    def doubled(*args, **more):
        value, aux = loss(*args, **more)
        return 2 * value, aux

    return doubled


def experiment(**changes):
    config = ConfigDict(
        dict(
            steps=20,
            eval_every=10,
            save_every=10,
            task=dict(make=f"{HERE}:Line", batch_size=8),
            optimizer=dict(make="optax:sgd", learning_rate=0.1),
        )
    )
    config = configs._lay_under(config, configs.defaults())
    config.writers = ConfigDict()
    config.mesh.data = 1
    configs.override(config, changes)
    return configs.Experiment(config, "tests/line.py", "", None, True)


def run(workdir, experiment, **options):
    lines = []
    options = dict(log=lines.append, progress=False) | options
    return runner.run(experiment, workdir, **options), lines


def test_a_run_leaves_everything_a_person_needs(tmp_path):
    outcome, _ = run(tmp_path, experiment())
    assert outcome.status == "finished"
    names = {p.name for p in tmp_path.iterdir()}
    assert {
        "config.json",
        "environment.json",
        "scores.jsonl",
        "timing.jsonl",
        "checkpoints",
        "result.json",
        "report.html",
        "plots",
    } <= names
    about = json.loads((tmp_path / "environment.json").read_text())
    assert about["jax"] == jax.__version__
    assert json.loads((tmp_path / "result.json").read_text())["step"] == 20


def status(workdir):
    return json.loads((workdir / "status.json").read_text())


def test_a_directory_says_how_its_run_ended_and_why(tmp_path):
    judge = lambda row: "far behind" if row["step"] == 10 else ""  # noqa: E731
    run(tmp_path, experiment(), judge=judge)
    found = status(tmp_path)
    assert (found["status"], found["reason"]) == ("pruned", "far behind")
    assert not (tmp_path / "result.json").exists()
    run(tmp_path, experiment())
    assert status(tmp_path) == {"status": "finished", "step": 20, "reason": ""}
    with pytest.raises(configs.ConfigError, match="another config"):
        run(tmp_path, experiment(steps=30))
    assert status(tmp_path)["status"] == "finished"
    other = tmp_path / "other"
    with pytest.raises(configs.ConfigError, match="best"):
        run(other, experiment(patience=3))
    assert status(other)["status"] == "failed"
    assert "patience needs best" in status(other)["reason"]


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run(tmp_path / name, experiment(seed=seed))
    rows = [(tmp_path / n / "scores.jsonl").read_bytes() for n in "abc"]
    assert rows[0] == rows[1]
    assert rows[0] != rows[2]


def test_the_learning_rate_of_a_schedule_is_in_the_rows(tmp_path):
    changed = experiment()
    rate = dict(make="optax:linear_schedule", init_value=0.1, end_value=0.0)
    with changed.config.unlocked():
        changed.config.optimizer = dict(
            make="optax:sgd", learning_rate=dict(rate, transition_steps=20)
        )
    outcome, _ = run(tmp_path, changed)
    row = next(row for row in outcome.rows if row["step"] == 10)
    np.testing.assert_allclose(row["learning_rate"], 0.1 * (1 - 9 / 20), rtol=1e-6)


def test_a_wrapped_loss_is_trained_and_the_plain_one_evaluated(tmp_path):
    plain, _ = run(tmp_path / "a", experiment())
    wrapped = experiment()
    with wrapped.config.unlocked():
        wrapped.config.wrap = dict(
            order=("double",), double=dict(bind=f"{HERE}:double")
        )
        wrapped.config.optimizer.learning_rate = 0.05
    outcome, _ = run(tmp_path / "b", wrapped)
    np.testing.assert_allclose(
        outcome.state.params["a"], plain.state.params["a"], rtol=1e-5
    )
    np.testing.assert_allclose(outcome.rows[1]["loss"], 2 * plain.rows[1]["loss"], 1e-5)


def test_a_wrap_that_the_order_forgets_is_refused(tmp_path):
    wrong = experiment()
    with wrong.config.unlocked():
        wrong.config.wrap = dict(order=(), double=dict(bind=f"{HERE}:double"))
    with pytest.raises(configs.ConfigError, match=r"wrap.order.*double"):
        run(tmp_path, wrong)


def test_another_config_is_refused_with_what_differs_unless_it_moves_no_number(
    tmp_path,
):
    run(tmp_path, experiment())
    with pytest.raises(configs.ConfigError, match=r"rate: 0.1 before, 0.2 now"):
        run(tmp_path, experiment(**{"optimizer.learning_rate": 0.2}))
    outcome, _ = run(tmp_path, experiment(keep=5, prefetch=1))
    assert outcome.status == "finished"


def test_other_data_are_refused_by_name_and_allowed_by_flag(tmp_path):
    run(tmp_path, experiment(steps=10))
    longer = experiment(steps=20, **{"task.batch_size": 4})
    with pytest.raises(CheckpointError, match="batch_size: 8 in the checkpoint, 4"):
        run(tmp_path, longer, allow_config_change=True)
    outcome, lines = run(
        tmp_path, longer, allow_config_change=True, allow_data_change=True
    )
    assert outcome.step == 20
    assert any("other data" in line for line in lines)


def test_more_steps_after_a_finished_run_equal_one_long_run(tmp_path):
    run(tmp_path / "a", experiment(steps=10))
    short, _ = run(tmp_path / "a", experiment(steps=20), allow_config_change=True)
    whole, _ = run(tmp_path / "b", experiment(steps=20))
    np.testing.assert_array_equal(short.state.params["a"], whole.state.params["a"])


def test_a_loaded_run_predicts_and_scores_as_it_did(tmp_path):
    outcome, _ = run(tmp_path, experiment(best="line/error"))
    with pytest.raises(BuildError, match="not allowed"):
        runner.load(tmp_path)
    loaded = runner.load(tmp_path, trust=["tests"])
    best = min(row["line/error"] for row in outcome.rows if "line/error" in row)
    assert loaded.task.evaluate(loaded.params, loaded.extras)["line/error"] == best
    got = loaded.predict(np.ones((1, 2), np.float32))
    np.testing.assert_allclose(got, np.sum(loaded.params["a"]), rtol=1e-6)
    early = runner.load(tmp_path, step=10, trust=["tests"])
    assert early.step == 10


def test_patience_ends_a_run_at_the_first_evaluations_without_progress(tmp_path):
    options = dict(steps=1000, best="line/error", patience=3, eval_every=10)
    outcome, _ = run(tmp_path, experiment(**options))
    assert outcome.status == "stopped early"
    scores = [r["line/error"] for r in outcome.rows if "line/error" in r]
    best = int(np.argmin(scores))
    assert len(scores) - 1 - best == 3
    again, _ = run(tmp_path, experiment(**options))
    assert (again.status, again.step) == ("stopped early", outcome.step)


def test_best_must_be_a_score(tmp_path):
    with pytest.raises(ValueError, match=r"best = 'line/eror'.*line/error"):
        run(tmp_path, experiment(best="line/eror"))


def test_the_average_of_the_weights_is_what_is_evaluated(tmp_path):
    averaged = experiment()
    with averaged.config.unlocked():
        averaged.config.optimizer = dict(
            make="kexue_jax.optim.chain:chain",
            order=("sgd", "average"),
            sgd=dict(make="optax:sgd", learning_rate=0.1),
            average=dict(make="kexue_jax.optim:average_weights", decay=0.9),
        )
    outcome, _ = run(tmp_path, averaged)
    (average,) = (
        v for _, v in optax.tree.get_all_with_path(outcome.state.opt_state, "average")
    )
    want = float(jnp.sum(jnp.abs(average["a"] - 3.0)))
    assert outcome.rows[-1]["line/error"] == want
    assert not np.allclose(average["a"], outcome.state.params["a"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"log_every": 0}, "log_every must be at least 1, got 0"),
        ({"compute_dtype": "float16"}, "compute_dtype must be one of"),
        ({"patience": 2}, "patience needs best"),
        ({"task.make": f"{HERE}:Lin"}, "has no 'Lin'; did you mean 'Line'"),
        ({"task.make": "tests.nowhere:Line"}, "no module 'tests.nowhere'"),
        ({"mesh.data": 3, "mesh.fsdp": 5}, "ask for 15 devices, but there are 8"),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(change, message, tmp_path):
    with pytest.raises((configs.ConfigError, BuildError), match=message):
        run(tmp_path, experiment(**change))


def test_an_unknown_argument_says_its_path_in_the_config(tmp_path):
    wrong = experiment()
    with wrong.config.unlocked():
        wrong.config.task.batchsize = 4
    with pytest.raises(BuildError, match=r"config.task.batchsize.*'batch_size'"):
        run(tmp_path, wrong)


def test_a_missing_config_file_or_variant_names_the_nearest():
    with pytest.raises(configs.ConfigError, match="gaussian_transport"):
        configs.load_config("configs/metrics/gaussian_transprt.py")
    with pytest.raises(configs.ConfigError, match="did you mean 'plain'"):
        configs.load_config("configs/images/vae_batchnorm.py:plan")


class Tagger:
    """Tags on the backbone of the drawn model; the loss is the size of its scores."""

    def __init__(self, *, vocabulary=77):
        from functools import partial

        from kexue_jax.nn.functional import functional
        from kexue_jax.nn.heads import Headed, PlaceHead
        from kexue_jax.pretrained.loading import drawn

        make = drawn().model(vocabulary=vocabulary)
        head = partial(PlaceHead, classes=3)
        self.init, self.apply = functional(partial(Headed, backbone=make, head=head))

    def batch(self, step):
        return {"tokens": np.full((8, 4), step, np.int32)}

    def loss(self, params, extras, batch, rng):
        scores, _ = self.apply(params, {}, batch["tokens"])
        return jnp.mean(jnp.square(scores)), (extras, {})

    def evaluate(self, params, extras):
        table = params["backbone"]["embeddings"]["tokens"]["embedding"]
        return {"sum": float(jnp.sum(table))}


def tagger(steps=2, **changes):
    task = {"task.vocabulary": changes.pop("vocabulary", 77)}
    made = experiment()
    made.config.task = ConfigDict(dict(make=f"{HERE}:Tagger", vocabulary=77))
    configs.override(made.config, {"steps": steps, **task, **changes})
    return made


def pretrained(folder):
    from kexue_jax.pretrained import write_safetensors
    from kexue_jax.pretrained.loading import drawn

    files = drawn()
    folder.mkdir()
    settings = dict(vocab_size=77, hidden_size=12, num_hidden_layers=2)
    settings |= dict(num_attention_heads=2, intermediate_size=24)
    (folder / "config.json").write_text(
        json.dumps(settings | dict(max_position_embeddings=64))
    )
    write_safetensors(folder / "model.safetensors", files.arrays)
    return float(files.arrays["embeddings.word_embeddings.weight"].sum())


def test_a_run_begins_with_the_weights_of_a_file_and_says_what_it_took(tmp_path):
    pytest.importorskip("safetensors")
    total = pretrained(tmp_path / "files")
    begun = tagger(init_from=str(tmp_path / "files"))
    outcome, lines = run(tmp_path / "run", begun)
    assert outcome.rows[0]["sum"] == pytest.approx(total, abs=1e-4)
    text = "\n".join(lines)
    assert "37 arrays matched" in text
    assert "not of the file: head/scores/kernel" in text
    # The same command again needs the file no more.
    (tmp_path / "files" / "model.safetensors").unlink()
    again, lines = run(tmp_path / "run", begun)
    assert again.step == 2
    assert not any("arrays matched" in line for line in lines)


def test_a_run_begins_with_the_parameters_of_another_run(tmp_path):
    first, _ = run(tmp_path / "first", tagger(3))
    begun = tagger(1, init_from=str(tmp_path / "first"), seed=5)
    second, _ = run(tmp_path / "second", begun)
    assert second.rows[0]["sum"] == pytest.approx(first.rows[-1]["sum"], abs=1e-5)


def test_weights_that_do_not_fit_are_refused_and_leave_the_directory_free(tmp_path):
    pytest.importorskip("safetensors")
    pretrained(tmp_path / "files")
    wrong = tagger(vocabulary=80, init_from=str(tmp_path / "files"))
    with pytest.raises(configs.ConfigError) as caught:
        run(tmp_path / "run", wrong)
    assert "embedding is (80, 12) here, (77, 12)" in str(caught.value)
    assert "config.init_partial=True" in str(caught.value)
    with pytest.raises(configs.ConfigError, match="neither a run nor a pretrained"):
        run(tmp_path / "run", tagger(init_from=str(tmp_path)))
    with pytest.raises(configs.ConfigError, match="init_partial is of"):
        run(tmp_path / "run", tagger(init_partial=True))
    configs.override(wrong.config, {"init_partial": True})
    outcome, lines = run(tmp_path / "run", wrong)
    assert outcome.status == "finished"
    assert any("36 arrays matched" in line for line in lines)


def test_a_config_without_a_beginning_is_written_as_it_always_was():
    assert "init_from" not in configs.plain(experiment().config)
