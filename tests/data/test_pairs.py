import pytest

from kexue_jax.data import pairs


def test_the_target_and_its_end_are_asked_and_nothing_else():
    batch = pairs.pair_rows([("ab", "cde"), ("a", "b")], length=7)
    sep, end = pairs.SEPARATOR, pairs.END
    assert batch["tokens"][0].tolist() == [*b"ab", sep, *b"cde", end]
    asked = batch["targets"][0][batch["weight"][0] == 1].tolist()
    assert asked == [*b"cde", end]
    assert batch["segments"].tolist() == [[0, 0, 0, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1, 1]]
    causal = pairs.pair_rows([("ab", "cde")], length=7, source_segment=1)
    assert causal["segments"].min() == 1
    with pytest.raises(ValueError, match="at most length = 4"):
        pairs.pair_rows([("ab", "cde")], length=4)
    with pytest.raises(ValueError, match="source_segment"):
        pairs.pair_rows([], length=4, source_segment=2)


def test_sums_are_right_and_those_held_out_are_never_learned_from():
    data = pairs.sums(digits=1, batch=200, held_out=100)

    def read(batch):
        for tokens, targets in zip(batch["tokens"], batch["targets"], strict=True):
            a, b = bytes(tokens[:3].tolist()).decode().split("+")
            assert int(bytes(targets[3:5].tolist())) == int(a) + int(b)
            yield int(a), int(b)

    learned = {pair for step in range(3) for pair in read(data.source(step))}
    assert not learned & set(read(data.held_out["valid"][0]))
    with pytest.raises(ValueError, match="digits"):
        pairs.sums(digits=0)


def test_signatures_come_with_the_first_line_and_files_are_held_out(tmp_path):
    for place in range(4):
        body = f'def f{place}(a, *, b=1):\n    """Does {place}.\n\n    More."""\n'
        (tmp_path / f"m{place}.py").write_text(body + "def g():\n    pass\n")
    found = pairs.signatures(tmp_path)
    assert found["m2.py"] == [("f2(a, *, b=1)", "Does 2.")]
    data = pairs.documented_signatures(length=30, batch=5, held_out=2, folder=tmp_path)
    valid = data.held_out["valid"][0]["tokens"]
    assert sorted(chr(row[1]) for row in valid) == ["1", "3"]
    assert {chr(row[1]) for row in data.source(0)["tokens"]} == {"0", "2"}
    with pytest.raises(FileNotFoundError):
        pairs.signatures(tmp_path / "none")
    with pytest.raises(ValueError, match="learn from and held out"):
        pairs.documented_signatures(length=5, folder=tmp_path)
