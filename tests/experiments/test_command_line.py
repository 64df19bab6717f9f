import pytest
from absl import flags

from experiments import run
from experiments.command_line import parse
from experiments.runner import ConfigError

CONFIG = "--config=tests/reliability/config.py"


def parsed(*words):
    values = flags.FlagValues()
    run.define_flags(values)
    return parse(words, values)


def test_overrides_reach_the_config_with_their_types():
    found = parsed(
        f"{CONFIG}:sgd",
        "--config.steps=7",
        "--config.task.source.seed=3",
        "--config.optimizer.rule.learning_rate=0.25",
        "--config.spike_factor=4",
    )
    config = found.experiment.config
    assert (config.steps, config.task.source.seed) == (7, 3)
    assert config.optimizer.rule.learning_rate == 0.25
    assert config.spike_factor == 4.0
    assert found.experiment.variant == "sgd"
    assert found.overrides[0] == "--config.steps=7"


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("--config.stpes=7", "config.stpes: no such entry; did you mean 'steps'"),
        ("--config.batch_size=7", "did you mean 'task.source.batch_size'"),
        ("--config.task.widht=7", "did you mean 'task.width'"),
        ("--config.task=7", "is a section; name one of its entries"),
        ("--config.steps=many", r"steps.*of type int; it is 200 here"),
        ("--config.steps=1.5", r"steps.*of type int"),
        ("--wrkdir=x", "there is no flag --wrkdir; did you mean 'workdir'"),
        ("--progres", "did you mean 'progress'"),
        ("more", r"what is 'more'\? Flags start with --"),
        (CONFIG, "--config: given twice"),
        ("--processes=two", "two"),
    ],
)
def test_a_wrong_word_is_refused_and_the_nearest_named(word, message):
    with pytest.raises(ConfigError, match=message):
        parsed(CONFIG, word)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "--config is missing"),
        (("--config=",), "--config is missing"),
        (("--config=tests/reliability/config.py:sdg",), "did you mean 'sgd'"),
        (("--config=configs/images/vae_batchnrm.py",), "vae_batchnorm"),
    ],
)
def test_a_config_that_is_not_there_is_refused(words, message):
    with pytest.raises(ConfigError, match=message):
        parsed(*words)


def test_a_refused_command_line_exits_with_2_and_one_line(capfd):
    assert run.main([CONFIG, "--config.stpes=7"]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "error: --config.stpes: no such entry; did you mean 'steps'?"
    ]


@pytest.mark.parametrize("profile", ["7", "9:3", "a:b", "3:3"])
def test_a_profile_that_is_no_range_is_refused(profile, capfd):
    assert run.main([CONFIG, f"--profile={profile}"]) == 2
    assert "start:stop" in capfd.readouterr().err


def test_every_entry_that_can_be_overridden_is_listed(capfd):
    assert run.main([CONFIG, "--help_config"]) == 0
    out = capfd.readouterr().out
    assert "--config.steps  (int, now 200)" in out
    assert "--config.spike_factor  (float, now None)" in out
