"""What the pages say is true of the code: examples run, commands and links exist."""

import csv
import importlib
import inspect
import json
import re
import shlex
from pathlib import Path

import jax
import numpy as np
import pytest
from absl import flags

from experiments import check, command_line, configs, run, runner, sweep
from experiments.objects import make_objects
from experiments.sweeps.definition import load_sweep
from kexue_jax import attention
from kexue_jax.position.compatibility import PLACES
from kexue_jax.position.rotary import rotary
from kexue_jax.train.checkpoint import Checkpoints
from kexue_jax.train.loop import fit
from kexue_jax.train.options import Options
from kexue_jax.train.watchdog import EXIT_HANG

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
IDS = [page.relative_to(ROOT).as_posix() for page in PAGES]
TARGETS = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M)


def blocks(page, language):
    text = page.read_text("utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


def files(page):
    """The Python blocks that begin with the path of a file, by path."""
    found = {}
    for block in blocks(page, "python"):
        head, _, body = block.partition("\n")
        if match := re.fullmatch(r"# ([\w/]+\.py)", head):
            found[match[1]] = body
    return found


def write_files(page, folder, monkeypatch):
    """Writes a page's files below a folder, and lets its modules be imported."""
    for name, body in files(page).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(body, "utf-8")
        parts = Path(name).with_suffix("").parts
        if parts[0] == "kexue_jax":
            room = importlib.import_module(".".join(parts[:-1]))
            where = [str(path.parent), *room.__path__]
            monkeypatch.setattr(room, "__path__", where)


def commands(text, module):
    """The words after ``python -m module`` wherever a text has it."""
    joined = text.replace("\\\n", " ")
    for tail in re.findall(rf"python -m {re.escape(module)}\b(.*)", joined):
        inside = tail.count('"') % 2  # of the quotes of --command="..."
        yield shlex.split(tail.rpartition('"')[0] if inside else tail)


def refuse_unknown(words, folder=ROOT):
    """Parses a command of experiments.run; a config may also lie below `folder`."""
    values = flags.FlagValues()
    run.define_flags(values)
    own = [
        f"--config={folder / word.removeprefix('--config=')}"
        if (folder / word.removeprefix("--config=").partition(":")[0]).is_file()
        else word
        for word in words
    ]
    command_line.parse(own, values)


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_the_python_of_a_page_runs(page, tmp_path, monkeypatch):
    write_files(page, tmp_path, monkeypatch)
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "page"}
    with jax.numpy_rank_promotion("allow"):  # as it is outside of these tests
        for number, block in enumerate(blocks(page, "python")):
            exec(compile(block, f"{page.name}, block {number}", "exec"), names)
        for name in [name for name in names if name.startswith("test_")]:
            names[name]()


def test_the_experiment_of_the_readme_runs_and_its_claim_answers(tmp_path, monkeypatch):
    write_files(PAGES[0], tmp_path, monkeypatch)
    scores = {}
    for variant in ("log_scaled", "log", "sum_scaled", "sum"):
        spec = f"{tmp_path / 'configs/losses/logarithm.py'}:{variant}"
        experiment = configs.load_config(spec, smoke=True)
        made = make_objects(experiment)
        workdir = tmp_path / variant
        workdir.mkdir()
        outcome = fit(made.task, made.tx, made.options, workdir=workdir, wrap=made.wrap)
        assert outcome.status == "finished"
        found = runner.final_scores(outcome.rows, made.options)
        scores[variant] = {name: np.array([x] * 3) for name, x in found.items()}
    judgement = check.judge(experiment.module.claim(scores))
    assert len(judgement.parts) == 3
    assert not judgement.holds  # two steps train nothing


def test_the_export_of_the_page_writes_the_weights_of_a_checkpoint(tmp_path):
    (code,) = (b for b in blocks(ROOT / "docs/own_code.md", "python") if "savez" in b)
    exec(code, names := {})
    state = {"params": {"w": jax.numpy.arange(3.0)}, "step": jax.numpy.int32(7)}
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.save(7, state)
    checkpoints.wait()
    names["export"](checkpoints.path(7), tmp_path / "weights.npz")
    found = dict(np.load(tmp_path / "weights.npz"))
    assert list(found) == ["params/w"]
    np.testing.assert_array_equal(found["params/w"], [0, 1, 2])


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_command_names_a_config_and_flags_that_exist(page, tmp_path, monkeypatch):
    write_files(page, tmp_path, monkeypatch)
    for block in blocks(page, "bash"):
        for words in commands(block, "experiments.run"):
            refuse_unknown(words, tmp_path)
        for words in commands(block, "experiments.sweep"):
            own = words.pop(0) if words[0] in sweep.COMMANDS else "run"
            values = flags.FlagValues()
            sweep.define_flags(values, own)
            values(["sweep", *words])
            if own == "run":
                load_sweep(values.config, values.sweep)
        for words in commands(block, "experiments.check"):
            for name in [word for word in words if not word.startswith("--")]:
                own = (tmp_path / "configs" / f"{name}.py").is_file()
                assert own or name in check.names()


def test_the_commands_of_the_pages_are_found():
    text = "".join(page.read_text("utf-8") for page in PAGES)
    assert sum(1 for _ in commands(text, "experiments.run")) >= 10


@pytest.mark.parametrize(
    "words",
    [
        ["--config=configs/optim/none.py"],
        ["--config=configs/optim/unit_gradients.py", "--dryrun"],
        ["--config=configs/optim/unit_gradients.py", "--config.step=3"],
    ],
)
def test_a_command_that_names_what_is_not_there_is_found_out(words):
    with pytest.raises(configs.ConfigError):
        refuse_unknown(words)


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_make_target_and_every_linked_page_exists(page):
    text = page.read_text("utf-8")
    wanted = re.findall(r"(?:`|^)make ([a-z-]+)", text, re.M)
    assert set(wanted) <= set(TARGETS)
    links = re.findall(r"\]\(([^)#:]+\.(?:md|py))(?:#[^)]*)?\)", text)
    assert not [link for link in links if not (page.parent / link).is_file()]


def test_every_room_is_in_the_list_of_modules():
    text = (ROOT / "docs" / "api.md").read_text("utf-8")
    rooms = {path.parent.name for path in (ROOT / "kexue_jax").glob("*/__init__.py")}
    assert not {room for room in rooms if f"`kexue_jax.{room}`" not in text}


def test_every_exit_code_and_field_that_the_pages_name_is_that_of_the_code():
    text = (ROOT / "docs" / "run_directory.md").read_text("utf-8")
    named = {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.M)}
    ours = {run.EXIT_HALTED, run.EXIT_DISK, run.EXIT_PREEMPTED}
    assert named == ours | {command_line.EXIT_CONFIG, EXIT_HANG}
    free = re.search(r"^\| (`mesh`.*?) \|", text, re.M)
    assert set(re.findall(r"`(\w+)`", free[1])) == set(configs.FREE)
    fields = set(Options.__dataclass_fields__) | set(configs.defaults())
    table = (ROOT / "docs" / "own_experiment.md").read_text("utf-8")
    rows = re.search(r"\| entry \| effect \|\n(.*?)\n\n", table, re.S)
    first = "".join(row.split("|")[1] for row in rows[1].split("\n"))
    assert set(re.findall(r"`(\w+)`", first)) <= fields


def test_the_page_of_positions_says_where_each_of_them_acts():
    text = (ROOT / "docs/attention.md").read_text("utf-8").split("## Positions")[1]
    found = {}
    for names, place in re.findall(r"^\| (`.*`) \| (\w+) \|$", text, re.M):
        found |= dict.fromkeys(re.findall(r"`(\w+)`", names), place)
    assert found == PLACES


def attention_rows():
    """Names in the first column of the table of attention, and its other cells."""
    text = (ROOT / "docs/attention.md").read_text("utf-8").split("## In Flax")[0]
    for names, *cells in re.findall(
        r"^\| (`.+?) \| .+? \| (.+?) \| (.+?) \| (.+?) \| .+? \|$", text, re.M
    ):
        for name in re.findall(r"`(\w+)`", names):
            yield pytest.param(name, *cells, id=name)


@pytest.mark.parametrize(("name", "masks", "causal", "bias"), [*attention_rows()])
def test_the_page_of_attention_says_what_each_function_can_do(
    name, masks, causal, bias
):
    function = getattr(attention, name)
    parameters = inspect.signature(function).parameters
    assert ("bias" in parameters) == (bias == "yes")
    assert "is_causal" in parameters
    assert masks in ("any", "of keys")
    if not {"query", "key"} <= set(parameters):
        return  # it takes scores
    query = jax.numpy.ones((1, 4, 2, 4))
    own = {
        "is_causal": True,
        "window": 2,
        "rate": 2,
        "radius": 2,
        "layout": np.ones((1, 1), bool),
        "key_table": jax.numpy.ones((3, 4)),
        "content_bias": jax.numpy.ones((2, 4)),
        "position_bias": jax.numpy.ones((2, 4)),
        "relative_key": jax.numpy.ones((7 if "xl" in name else 4, 2, 4)),
        "relative_query": jax.numpy.ones((4, 2, 4)),
        "rotate": rotary,
        "projection": jax.numpy.ones((4, 4)),
    }
    options = {k: v for k, v in own.items() if k in parameters}
    whole = jax.numpy.tri(4, dtype=bool)[None, None]
    if causal == "no":
        with pytest.raises(ValueError, match="causal"):
            function(query, query, query, **options)
        options["is_causal"] = False

    def shape(*mask):
        return jax.eval_shape(
            lambda query: function(query, query, query, *mask, **options), query
        ).shape

    assert shape() == query.shape
    if masks == "any":
        assert shape(whole) == query.shape
    else:
        with pytest.raises(ValueError, match="mask"):
            shape(whole)


def means(name, score, *paths):
    """Means of a recorded sweep's score over seeds, by the values of `paths`."""
    found = {}
    with open(
        ROOT / "docs" / "sweeps" / name / "results.csv", encoding="utf-8"
    ) as rows:
        for row in csv.DictReader(rows):
            assert row["state"] == "done"
            key = tuple(row[path] for path in paths)
            found.setdefault(key, []).append(float(row[score]))
    return {key: sum(values) / len(values) for key, values in found.items()}


def test_the_lessons_of_the_recorded_sweeps_are_of_their_tables():
    text = (ROOT / "docs" / "recorded_sweeps.md").read_text("utf-8")
    rule, batch = "optimizer.rule", "task.source.batch"
    matrix = f"{rule}.transforms.matrix.learning_rate.peak_value"
    rate = f"{rule}.learning_rate.peak_value"
    bits = means("rates", "valid/bits_per_byte", rule, batch, matrix, rate)
    muon = {at: bits["muon", "40", at, ""] for at in ("0.01", "0.03", "0.1")}
    adamw = {at: bits["adamw", "40", "", at] for at in ("0.002", "0.008", "0.032")}
    lion = {at: bits["lion", "40", "", at] for at in ("0.002", "0.032")}
    told = [muon["0.03"], adamw["0.008"], lion["0.032"], lion["0.002"]]
    told += [muon["0.1"] - muon["0.03"], muon["0.01"] - muon["0.03"]]
    told += [adamw["0.032"] - adamw["0.008"], adamw["0.002"] - adamw["0.008"]]
    told += [bits["muon", "20", "0.03", ""] - muon["0.03"]]
    told += [bits["adamw", "20", "", "0.008"] - adamw["0.008"]]
    told += [adamw["0.008"] - muon["0.03"]]
    assert min(bits.values()) == muon["0.03"]
    right = means("lengths", "valid/accuracy", "variant", "task.data.longest")
    for length in ("33", "65", "129"):
        softmax, nystrom = right["softmax", length], right["nystrom", length]
        assert softmax > nystrom > right["convolution", length]
        told += [right["convolution", length], nystrom]
    told += [right["alone", "33"], right["alone", "129"]]
    lacking = [x for x in told if f"{x:.3f}" not in text]
    # A half is written up or down.
    assert not [x for x in lacking if f"{x + 1e-9:.3f}" not in text]
    assert "44 runs" in text
    assert "24 runs" in text


def test_what_the_page_on_extraction_tells_of_scores_is_of_their_results():
    text = " ".join((ROOT / "docs" / "extraction.md").read_text("utf-8").split())
    found = json.loads((check.RESULTS / "extraction/nested_entities.json").read_text())
    order = ("pointer", "chain", "efficient")
    f1 = {name: 100 * found["mean"][name]["test/f1"][0] for name in order}
    assert "are {pointer:.1f}, {chain:.1f} and {efficient:.1f}.".format(**f1) in text
    assert f1["pointer"] > f1["chain"] > f1["efficient"]
    resumes = json.loads(
        (check.RESULTS / "extraction/resume_entities.json").read_text()
    )
    told = {name: f"{100 * x['test/f1'][0]:.1f}" for name, x in resumes["mean"].items()}
    for words in (
        "CRF has {chain} here, GlobalPointer {pointer}, the lean form {efficient}",
        "each alone {alone}.",
        "of a CRF, has {markov_both}:",
        "ends at {difference}:",
    ):
        assert words.format(**told) in text
    recall = {name: found["mean"][name]["test/recall"][0] for name in order}
    precision = {name: found["mean"][name]["test/precision"][0] for name in order}
    assert min(recall, key=recall.get) == "efficient"
    assert max(precision, key=precision.get) == "efficient"
