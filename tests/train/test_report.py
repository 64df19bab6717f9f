import csv
import html.parser
import io
import json
import math
import os
import re
import sys

import numpy as np
import pytest

from kexue_jax.exhibits import Bars, Curves, Images, Series, Table, Text
from kexue_jax.train import plots
from kexue_jax.train.report import Verdict, write_report


def fill(workdir, rows=(), timing=(), config=None, environment=None):
    workdir.mkdir(exist_ok=True)
    for name, lines in [("scores", rows), ("timing", timing)]:
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (workdir / f"{name}.jsonl").write_text(text)
    for name, tree in [("config", config), ("environment", environment)]:
        if tree is not None:
            (workdir / f"{name}.json").write_text(json.dumps(tree))
    return workdir


def report(workdir, **options):
    options = {"title": "A run", "claim": "It learns."} | options
    return write_report(workdir, **options).read_text("utf-8")


def curve_rows(number):
    return [
        {"step": i, "loss": 5.0 / (1 + i) + 0.1 * math.sin(7 * i)}
        | ({"valid/nll": 4.0 / (1 + i)} if i % 10 == 0 else {})
        for i in range(number)
    ]


def one_of_each():
    x = np.linspace(1, 100, 20)
    line = Series("a", x, x**2, x**2 - 1, x**2 + 1)
    return [
        Text("Samples", [("T = 1", "hello")]),
        Table("Numbers", ["n", "f"], [[1, 0.5]]),
        Curves("Lines", [line, Series("b", x, -x)], "x", "y", True, True),
        Bars("Bars", ["p", "q"], ["u", "v"], np.array([[1.0, 2.0], [np.nan, 1.0]])),
        Images("Pictures", np.zeros((3, 4, 4)), 2, ["i", "j", "k"]),
    ]


class Checker(html.parser.HTMLParser):
    """Follows the tags of a page: what is open, and every address in it."""

    VOID = frozenset(["meta", "link", "img", "br", "hr"])

    def __init__(self):
        super().__init__()
        self.open, self.addresses, self.tags = [], [], set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        fetched = ("src", "srcset", "href", "data", "action", "poster")
        if tag != "a":
            self.addresses += [value for name, value in attrs if name in fetched]
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def check_page(text):
    checker = Checker()
    checker.feed(text)
    checker.close()
    assert not checker.open
    assert "script" not in checker.tags
    assert all(address.startswith("data:") for address in checker.addresses)
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert style
    assert "url(" not in style.group(1)
    assert "@import" not in style.group(1)
    return checker


def test_a_run_has_its_claim_scores_cost_config_and_command_on_the_page(tmp_path):
    workdir = fill(
        tmp_path,
        curve_rows(200),
        [{"step": 1, "seconds": 65.0, "steps_per_second": 3.0, "phase": "train"}],
        {"optimizer": {"learning_rate": 0.002}},
        {"versions": {"jax": "0.10.2"}, "devices": ["cpu:0"]},
    )
    text = report(
        workdir,
        claim="First paragraph.\n\nSecond one.",
        command="python -m experiments.run --config=a.py",
        source="https://kexue.fm/archives/8823, in part",
        verdict=Verdict("holds", "by far", {"short": True, "long": False}),
        cost={"parameters": 1234},
    )
    check_page(text)
    for part in [
        "<p>First paragraph.</p><p>Second one.</p>",
        '<a href="https://kexue.fm/archives/8823" rel="noreferrer">',
        "The claim holds",
        "by far",
        "python -m experiments.run --config=a.py",
        "&quot;learning_rate&quot;: 0.002",
        "versions.jax",
        "0.10.2",
        "1 min 05 s",
        "cpu:0",
        "1234",
        "valid/nll",
        "centred mean of 11 of them",
    ]:
        assert part in text, part
    assert (workdir / "plots" / "train-01-loss.png").exists()
    assert (workdir / "plots" / "eval-01-nll.png").exists()
    assert text.count("<img") == 2


def test_every_kind_of_exhibit_is_on_the_page_and_in_a_file(tmp_path):
    text = report(fill(tmp_path), exhibits=one_of_each())
    check_page(text)
    written = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.*")}
    assert {
        "samples/01-samples.txt",
        "tables/02-numbers.csv",
        "plots/03-lines.png",
        "plots/04-bars.png",
        "plots/05-pictures.png",
    } <= written
    assert text.count("<img") == 3


def test_the_same_input_gives_the_same_bytes(tmp_path):
    def everything(name):
        workdir = fill(tmp_path / name, curve_rows(100))
        report(workdir, exhibits=one_of_each())
        files = [path for path in sorted(workdir.rglob("*")) if path.is_file()]
        return {str(p.relative_to(workdir)): p.read_bytes() for p in files}

    assert everything("a") == everything("b")


def test_an_empty_directory_has_a_report_without_pictures(tmp_path):
    text = report(tmp_path)
    check_page(text)
    assert "<img" not in text
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_a_single_row_has_numbers_and_no_curves(tmp_path):
    row = {"step": 0, "valid/kl": 0.125, "loss": 2.5}
    text = report(fill(tmp_path, [row]))
    check_page(text)
    assert "0.125" in text
    assert "<img" not in text
    assert not (tmp_path / "plots").exists()


def test_values_that_are_no_numbers_do_not_stop_a_report(tmp_path):
    values = [None, math.nan, math.inf, -math.inf, 1.0, 2.0]
    rows = [
        {"step": i, "loss": v, "valid/nll": v, "never": None, "valid/never": math.nan}
        for i, v in enumerate(values)
    ]
    rows.append({"step": 6, "phase": "done", "list": [1]})
    text = report(fill(tmp_path, rows))
    check_page(text)
    assert "4 not finite" in text
    assert "never" in text
    assert "phase" not in text


def test_thousands_of_rows_and_scores_stay_a_page(tmp_path):
    rows = [{"step": i, "loss": math.exp(-i / 500)} for i in range(5000)]
    rows += [{"step": 5000} | {f"g{i}/n": float(i) for i in range(300)}]
    text = report(fill(tmp_path, rows))
    check_page(text)
    assert "g299/n" in text
    assert len(text) < 600_000


def test_scores_that_never_change_are_lines_beside_others_and_no_chart_alone(tmp_path):
    rows = [
        {"step": i, "valid/nll": 2.0 - i, "chance/nll": 2.0, "chance/order": 3.0}
        for i in (0, 1)
    ]
    text = report(fill(tmp_path, rows))
    assert text.count("<img") == 1
    assert "Held out: valid, chance." in text
    assert "chance/order" in text


@pytest.mark.slow
def test_charts_beyond_the_limit_are_counted_and_not_drawn(tmp_path):
    rows = [{"step": i} | {f"s{j}": i + j / 2 for j in range(30)} for i in (1, 2, 3)]
    text = report(fill(tmp_path, rows))
    assert text.count("<img") == 24
    assert "6 more have no diagram here" in text


def test_text_from_outside_is_never_markup(tmp_path):
    evil = "<script>alert('x')</script>&amp;\"</pre>"
    rows = [{"step": i, f"{evil}/{evil}": float(i), evil: 1.0 * i} for i in (1, 2)]
    workdir = fill(tmp_path, rows, config={evil: evil}, environment={evil: evil})
    exhibits = [
        Text(evil, [(evil, evil)], evil),
        Table(evil, [evil], [[evil]], evil),
        Curves(evil, [Series(evil, np.arange(2), np.arange(2))] * 2, evil, evil),
        Bars(evil, [evil], [evil, evil], np.ones((1, 2)), evil, evil),
        Images(evil, np.ones((1, 8, 8)), 1, [evil], evil),
    ]
    text = report(
        workdir,
        title=evil,
        claim=evil,
        source=f"https://kexue.fm/{evil}",
        command=evil,
        verdict=Verdict("not decided", evil, {evil: True}),
        exhibits=exhibits,
        cost={evil: evil},
    )
    checker = check_page(text)
    assert not checker.tags & {"script", "b/"}
    assert "alert(" in text


def test_samples_keep_every_letter_and_show_control_characters(tmp_path):
    passage = "你好，世界\n\tab\x00\x07\r\x1b[31m \u202etxt \udc80 \u2028 👩‍👧"
    text = report(fill(tmp_path), exhibits=[Text("样本", [("提示", passage)])])
    check_page(text)
    assert (
        "你好，世界\n\tab\\x00\\x07\\r\\x1b[31m \\u202etxt \\udc80 \\u2028 👩‍👧" in text
    )
    saved = (tmp_path / "samples" / "01.txt").read_bytes().decode("utf-8")
    assert "你好，世界\n\tab\x00\x07\r\x1b[31m" in saved
    assert "提示" in saved


def test_names_that_a_formula_or_a_font_cannot_take_are_drawn(tmp_path, recwarn):
    name = "$x_{ 100% ^^ 价格 $ _y"
    exhibits = [
        Curves(name, [Series(name, [1, 2], [1, 2]), Series("_hidden", [1], [1])], name),
        Bars(name, [name, name], [name, "b"], np.ones((2, 2)), name),
        Images(name, np.ones((2, 8, 8)), 2, [name, name]),
    ]
    rows = [{"step": i, name: float(i), f"valid/{name}": float(i)} for i in (1, 2)]
    check_page(report(fill(tmp_path, rows), exhibits=exhibits))
    assert not [str(w.message) for w in recwarn]


def test_exhibits_without_values_are_drawn_as_such(tmp_path, recwarn):
    none = np.zeros(0)
    nan = np.full(3, np.nan)
    exhibits = [
        Text("t", []),
        Table("t", ["a"], []),
        Table("t", [], []),
        Curves("c", []),
        Curves("c", [Series("s", none, none)], log_x=True, log_y=True),
        Curves("c", [Series("s", nan, nan), Series("t", -np.ones(3), -np.ones(3))]),
        Curves("c", [Series("s", [-1.0, 0.0], [-1.0, 0.0])], log_x=True, log_y=True),
        Curves("c", [Series("s", [1.0], [2.0])], log_y=True),
        Bars("b", [], [], np.zeros((0, 0))),
        Bars("b", ["g"], ["k"], np.full((1, 1), np.inf)),
        Images("i", np.zeros((0, 4, 4)), 3),
        Images("i", np.full((1, 1, 1, 3), np.nan), 5),
    ]
    check_page(report(fill(tmp_path), exhibits=exhibits))
    assert not [str(w.message) for w in recwarn]


def test_a_table_is_saved_whole_and_shown_in_part(tmp_path):
    rows = [[i, 'a "quoted", cell', None, np.float32(0.5), True] for i in range(700)]
    table = Table("Long", ["i", "words", "none", "half", "yes"], rows)
    text = report(fill(tmp_path), exhibits=[table])
    check_page(text)
    assert "The first 500 of 700 rows." in text
    saved = (tmp_path / "tables" / "01-long.csv").read_text("utf-8")
    read = list(csv.reader(io.StringIO(saved)))
    assert len(read) == 701
    assert read[0] == ["i", "words", "none", "half", "yes"]
    assert read[700] == ["699", 'a "quoted", cell', "", "0.5", "True"]


def test_wall_time_adds_up_over_restarts_and_the_rate_is_a_median(tmp_path):
    timing = [
        {"step": 10, "seconds": 100.0, "steps_per_second": 2.0, "phase": "train"},
        {"step": 20, "seconds": 120.0, "steps_per_second": 3.0, "phase": "train"},
        {"step": 20, "seconds": 150.0, "steps_per_second": 900.0, "phase": "evaluate"},
        {"step": 30, "seconds": 30.0, "steps_per_second": 50.0, "phase": "train"},
        {"step": 40, "seconds": 45.0, "steps_per_second": None},
    ]
    text = report(fill(tmp_path, timing=timing))
    assert "3 min 15 s" in text  # 150 + 45 seconds
    assert "3 (median" in text


def test_the_later_row_of_a_step_counts(tmp_path):
    rows = [{"step": s, "loss": v} for s, v in [(1, 1.0), (2, 7.5), (2, 3.25)]]
    text = report(fill(tmp_path, rows))
    assert "3.25" in text
    assert "7.5" not in text


def test_a_last_line_cut_off_by_a_crash_is_left_out(tmp_path):
    workdir = fill(tmp_path, [{"step": 1, "loss": 0.625}])
    with (workdir / "scores.jsonl").open("a") as file:
        file.write('{"step": 2, "lo')
    assert "0.625" in report(workdir)


def test_a_broken_line_in_the_middle_is_named(tmp_path):
    (tmp_path / "scores.jsonl").write_text('{"step": 1}\noops\n{"step": 2}\n')
    with pytest.raises(ValueError, match=r"line 2 of .*scores\.jsonl is not JSON"):
        report(tmp_path)


@pytest.mark.parametrize(
    ("name", "best"), [("nll", "lowest"), ("accuracy", "highest"), ("length", "")]
)
def test_the_best_is_marked_only_where_the_name_says_what_is_best(name, best, tmp_path):
    rows = [{"step": i, f"valid/{name}": float(i)} for i in (1, 2, 3)]
    text = report(fill(tmp_path, rows))
    assert ("A ring marks" in text) == bool(best)
    assert f"A ring marks the {best}." in text or not best


def test_a_page_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    before = report(fill(tmp_path), title="First")

    def fail(*_):
        raise OSError("no space")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no space"):
        report(tmp_path, title="Second")
    assert (tmp_path / "report.html").read_text("utf-8") == before
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".tmp")]


def test_without_matplotlib_tables_are_reported_and_curves_say_what_to_install(
    tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert "0.5" in report(fill(tmp_path), exhibits=one_of_each()[:2])
    fill(tmp_path, curve_rows(10))
    with pytest.raises(ImportError, match=r"pip install kexue-jax\[train\]"):
        report(tmp_path)


@pytest.mark.parametrize(
    ("exhibit", "words"),
    [
        (Curves("c", [Series("s", [1, 2], [1])]), r"series 's' must be \[N\]"),
        (Bars("b", ["g"], ["k"], np.ones((2, 2))), r"\[groups, bars\] = \[1, 1\]"),
        (Images("i", np.ones((2, 4)), 1), r"pictures of 'i' must be"),
        (Images("i", np.ones((2, 4, 4)), 1, ["a"]), "labels of 'i' must be none or 2"),
        (Images("i", np.ones((2, 4, 4)), 0), "columns of 'i' must be >= 1: 0"),
        (Table("t", ["a"], [[1], [1, 2]]), "row 1 of the table 't' must have 1 cells"),
    ],
)
def test_an_exhibit_that_does_not_fit_together_is_named(exhibit, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        report(fill(tmp_path), exhibits=[exhibit])


def test_wrong_arguments_are_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match="status of verdict must be 'holds'"):
        report(tmp_path, verdict=Verdict("maybe", "", {}))
    with pytest.raises(ValueError, match="workdir must be the directory of a run"):
        report(tmp_path / "nowhere")


def test_pictures_keep_their_colours(tmp_path):
    image = pytest.importorskip("PIL.Image")
    pictures = np.zeros((2, 8, 8, 3))
    pictures[0, ..., 0] = pictures[1, ..., 2] = 1.0
    png = plots.images_figure(Images("i", pictures, 2))
    pixels = np.asarray(image.open(io.BytesIO(png)).convert("RGB"))
    height, width, _ = pixels.shape
    assert pixels[height // 2, width // 4].tolist() == [255, 0, 0]
    assert pixels[height // 2, 3 * width // 4].tolist() == [0, 0, 255]


def test_smoothing_is_the_mean_of_a_centred_window(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.normal(size=401)
    values[[7, 200, 399]] = [np.nan, np.inf, -np.inf]
    got, window = plots.smoothed(values)
    assert window == 21
    for i in range(401):
        reach = min(10, max(2, min(i, 400 - i)))
        near = values[max(0, i - reach) : i + reach + 1]
        assert got[i] == pytest.approx(near[np.isfinite(near)].mean(), abs=1e-12)


def test_smoothing_recovers_from_a_huge_value():
    values = np.random.default_rng(0).normal(size=1000)
    values[500] = 1e30
    got, window = plots.smoothed(values)
    assert window > 1
    assert np.abs(got[600:]).max() < 2


def test_smoothing_leaves_short_and_noiseless_curves_alone():
    for values in [np.zeros(0), np.full(200, np.nan), np.linspace(0, 1, 5000)]:
        got, window = plots.smoothed(values)
        assert window == 1
        np.testing.assert_array_equal(got, values)


def test_hundreds_of_lines_in_one_diagram_are_named_in_part(tmp_path):
    rows = [
        {"step": i} | {f"g{j}/nll": 1.0 * j + i for j in range(300)} for i in (1, 2)
    ]
    text = report(fill(tmp_path, rows))
    check_page(text)
    assert "g11, 288 more" in text
    height = int(re.search(r'height="(\d+)" src="data:image', text).group(1))
    assert height < 700
