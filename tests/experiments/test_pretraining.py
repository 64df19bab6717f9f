"""From a masked language model to what begins with its encoder, through the runner."""

import json

import jax.export
import numpy as np
import pytest

from experiments import configs, predict, runner
from kexue_jax.train.rows import read_rows

pytestmark = pytest.mark.slow
SIZES = {"features": 16, "layers": 2, "heads": 2, "hidden": 16}
ENCODER = {f"task.encoder.{name}": size for name, size in SIZES.items()}


def run(workdir, config, changes):
    experiment = configs.load_config(f"configs/{config}", smoke=True)
    configs.override(experiment.config, ENCODER | changes)
    experiment.config.mesh.data, lines = 1, []
    experiment.config.writers = {}
    outcome = runner.run(experiment, workdir, log=lines.append, progress=False)
    return outcome, "\n".join(lines)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretrained")
    changes = {"steps": 3, "eval_every": 3, "save_every": 3}
    outcome, _ = run(folder, "text/chinese_roformer.py:words", changes)
    assert outcome.status == "finished"
    return folder


def leaf(outcome, path):
    found = outcome.state.params
    for key in path.split("/"):
        found = found[key]
    return np.asarray(found)


def test_an_extraction_begins_with_a_pretrained_encoder_and_says_so(
    pretrained, tmp_path
):
    frozen = {"optimizer": {"make": "optax:set_to_zero"}, "steps": 1}
    begun = frozen | {"init_from": str(pretrained)}
    tokenizer = "kexue_jax.data.standard_characters:StandardCharacters"
    whole = {"task.tokenizer": {"make": tokenizer}, "task.learns": False}
    config = "extraction/resume_entities.py:pointer"
    outcome, text = run(tmp_path / "whole", config, begun | whole)
    state = runner.load(pretrained).params
    count = len(jax.tree.leaves(state["backbone"]))
    assert f"{count} arrays matched" in text
    assert "not of the run: head/" in text
    assert "of the run, and not taken: head/bias" in text
    assert "missing" not in text
    for path in ("blocks/1/feed_forward/widen/kernel", "embeddings/tokens/embedding"):
        want = state["backbone"]
        for key in path.split("/"):
            want = want[key]
        np.testing.assert_array_equal(leaf(outcome, f"encoder/{path}"), want)


def test_characters_that_are_learned_anew_take_their_vectors_along(
    pretrained, tmp_path
):
    begun = {"init_from": str(pretrained), "optimizer": {"make": "optax:set_to_zero"}}
    config = "extraction/resume_entities.py:pointer"
    outcome, text = run(tmp_path, config, begun | {"steps": 1})
    task = runner.load(tmp_path).task
    own = task.tokenizer.pieces(range(task.tokenizer.vocabulary))
    other = runner.load(pretrained)
    theirs = other.task.tokenizer.pieces(range(other.task.tokenizer.vocabulary))
    table = other.params["backbone"]["embeddings"]["tokens"]["embedding"]
    got = leaf(outcome, "encoder/embeddings/tokens/embedding")
    assert len(own) < len(theirs)
    for row, piece in enumerate(own):
        np.testing.assert_array_equal(got[row], table[theirs.index(piece)])
    assert f"{len(own)} of {len(own)} tokens are of the run" in text


def test_another_size_is_refused_with_what_differs(pretrained, tmp_path):
    changes = {"init_from": str(pretrained), "task.encoder.features": 32}
    with pytest.raises(configs.ConfigError) as caught:
        run(tmp_path, "extraction/resume_entities.py:pointer", changes)
    assert "encoder/blocks/0/mixer/query/kernel is (32, 32) here" in str(caught.value)
    assert "config.init_partial=True" in str(caught.value)


def test_a_pretraining_goes_on_from_another_and_hidden_words_are_filled(
    pretrained, tmp_path, capsys
):
    changes = {"init_from": str(pretrained), "steps": 1, "eval_every": 1}
    _, text = run(tmp_path, "text/chinese_roformer.py:characters", changes)
    assert "not of the run" not in text
    assert "arrays matched" in text
    last = read_rows(tmp_path / "scores.jsonl")[-1]
    assert {"words/bits", "characters/accuracy"} <= last.keys()
    asked = "北[MASK]：21度"
    assert predict.main([f"--workdir={pretrained}", f"--text={asked}", "--json"]) == 0
    (item,) = json.loads(capsys.readouterr().out)["found"]
    assert (item["start"], item["stop"]) == (1, 7)
    assert len(item["guesses"]) == 5
    assert item["text"] == item["guesses"][0][0]
    assert predict.main([f"--workdir={pretrained}", f"--text={asked}"]) == 0
    assert item["text"] in capsys.readouterr().out
    assert predict.main([f"--workdir={pretrained}", f"--text={'一' * 200}"]) == 2
    assert "at most 128 tokens" in capsys.readouterr().err
    exported = predict.exported(runner.load(pretrained), 16)
    served = jax.export.deserialize(bytearray(exported))
    tokens = np.full((3, 16), 7, np.int32)
    scores = served.call(tokens, tokens > 0, np.zeros_like(tokens))
    assert scores.shape == (3, 16, 7424)
