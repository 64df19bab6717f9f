import json

import jax
import jax.export
import numpy as np
import pytest
from ml_collections import ConfigDict

from experiments import configs, predict, runner

ROOM = "kexue_jax"


def config(corpus, scheme):
    task = dict(
        make=f"{ROOM}.tasks.extraction:Extraction",
        corpus=dict(
            make=f"{ROOM}.data.drawn_annotations:drawn",
            name=corpus,
            train=32,
            held_out=8,
        ),
        tokenizer=dict(bind=f"{ROOM}.data.characters:Characters", least=1),
        learns=True,
        encoder=dict(
            bind=f"{ROOM}.nn.families:roformer",
            features=16,
            layers=1,
            heads=2,
            hidden=32,
        ),
        scheme=dict(bind=f"{ROOM}.tasks.{scheme}"),
        model=dict(bind=f"{ROOM}.nn.extractor:Extractor"),
        bucketed=dict(bind=f"{ROOM}.data.buckets:Bucketed", lengths=(64, 128)),
    )
    made = ConfigDict(
        dict(
            seed=0,
            steps=1,
            task=task,
            optimizer=dict(make="optax:adam", learning_rate=3e-3),
        )
    )
    made = configs._lay_under(made, configs.defaults())
    made.writers, made.mesh.data = ConfigDict(), 1
    return configs.Experiment(made, "tests/extraction.py", "", None, True)


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    experiment = config("weather", "entity_schemes:SpanEntities")
    experiment.config.steps = 60
    runner.run(experiment, folder, log=lambda line: None, progress=False)
    return folder


TEXT = "北京：21度；上海：33度；"


def test_what_is_found_is_printed_with_its_place_and_in_json(ran, capsys, tmp_path):
    assert predict.main([f"--workdir={ran}", f"--text={TEXT}"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"{TEXT}\n")
    assert "0-2  北京 (city)" in printed
    file = tmp_path / "texts.txt"
    file.write_text(f"{TEXT}\n\n成都：10度；\n", "utf-8")
    assert predict.main([f"--workdir={ran}", f"--file={file}", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["text"] for row in rows] == [TEXT, "", "成都：10度；"]
    assert rows[1]["found"] == []
    for row in rows:
        for item in row["found"]:
            assert row["text"][item["start"] : item["stop"]] == item["text"]
            assert 0.5 <= item["score"] <= 1.0
    loaded = runner.load(ran)
    (found,) = loaded.predict([TEXT])
    assert [item["text"] for item in found] == [
        item["text"] for item in rows[0]["found"]
    ]


def test_the_exported_model_gives_what_the_run_gives_without_our_code(ran, tmp_path):
    path = tmp_path / "model.bin"
    options = [f"--workdir={ran}", f"--export={path}", "--length=32"]
    assert predict.main(options) == 0
    served = jax.export.deserialize(bytearray(path.read_bytes()))
    loaded = runner.load(ran)
    tokens = loaded.task.tokenizer.encode(TEXT).tokens
    rows = np.zeros((3, 32), np.int32)
    rows[:, : len(tokens)] = tokens
    kept = np.arange(32) < np.full((3, 1), len(tokens))
    got = served.call(rows, kept, np.zeros_like(rows))
    serve = jax.jit(loaded.task.serving(loaded.params, loaded.extras))
    want = serve(rows, kept, np.zeros_like(rows))
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)
    assert (np.asarray(want)[:, :, 1:3, 1:3] > -np.inf).any()


def test_the_report_shows_what_was_found_and_missed(ran):
    page = (ran / "report.html").read_text("utf-8")
    named = page.count(">city</small>")  # the legend has no names
    assert named > 8
    samples = next((ran / "samples").glob("*.txt")).read_text("utf-8")
    assert samples.count("city)") == named


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--text=a"], "--workdir is missing"),
        (["--workdir=nowhere", "--text=a"], "holds no run"),
        (["--workdir={run}"], "give texts by --text or by --file"),
        (["--workdir={run}", "--text=a", "--file=b"], "one of them"),
        (["--workdir={run}", "--file=nowhere"], "there is no nowhere"),
        (["--workdir={run}", "--text=a", "more"], "what is 'more'?"),
        (["--workdir={run}", "--txt=a"], "Unknown command line flag"),
        (["--workdir={run}", "--text=a", "--step=7"], "7"),
    ],
)
def test_what_cannot_be_done_is_said(ran, capsys, words, message):
    assert predict.main([word.replace("{run}", str(ran)) for word in words]) == 2
    assert message in capsys.readouterr().err


def test_a_scheme_that_asks_twice_predicts_and_is_not_exported(tmp_path, capsys):
    experiment = config("relations", "relation_schemes:CascadedTriples")
    run = tmp_path / "run"
    runner.run(experiment, run, log=lambda line: None, progress=False)
    assert predict.main([f"--workdir={run}", "--text=Ann works for Acme."]) == 0
    assert "Ann works for Acme." in capsys.readouterr().out
    assert predict.main([f"--workdir={run}", f"--export={tmp_path / 'm'}"]) == 2
    assert "asks its model again" in capsys.readouterr().err
