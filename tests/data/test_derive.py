"""What the loader takes from a published file is what the function says."""

import io
import json
import lzma
import random
import struct
import tarfile
import zipfile
import zlib

import numpy as np
import pytest

from kexue_jax.data import derive

START = "rnbakabnr/9/1c5c1/p1p1p1p1p/9/9/P1P1P1P1P/1C5C1/9/RNBAKABNR w - - 0 1"


def test_lines_end_at_line_feeds_and_nowhere_else():
    data = "a\r\nb\rc\x0bd\u2028\ne".encode()
    assert derive.first_lines(data, 1) == b"a\r\n"
    assert derive.first_lines(data, 2) == data[:-1]
    assert derive.first_lines(data, 99) == data
    assert derive.odd_lines(data) == b"a\r\ne"
    assert derive.odd_lines(b"") == b""


def test_first_items_keep_letters_and_indentation():
    items = [{"text": "漢字"}, {"text": "b"}, {"text": "c"}]
    data = json.dumps(items).encode()
    assert (
        derive.first_items(data, 1) == '[\n  {\n    "text": "漢字"\n  }\n]\n'.encode()
    )
    assert json.loads(derive.first_items(data, 2)) == items[:2]


def test_one_member_of_a_zip_file_is_returned():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a/b.txt", "right")
        archive.writestr("b.txt", "wrong")
    assert derive.zip_member(stream.getvalue(), "a/b.txt") == b"right"


def stored_dict(*pairs):
    """A dict of strings and small integers in Python's format, written by hand."""
    body = b"".join(
        b"X" + struct.pack("<I", len(word.encode())) + word.encode() + b"K%c" % number
        for word, number in pairs
    )
    return b"\x80\x03}(" + body + b"u."


def test_a_vocabulary_is_written_in_order_with_visible_blanks():
    data = stored_dict((" ", 0), ("字", 1), ("\u3000", 2), ("<PAD>", 3))
    expected = "<SPACE>\n字\n<U+3000>\n<PAD>\n".encode()
    assert derive.vocabulary_lines(data) == expected


def test_a_vocabulary_whose_numbers_are_not_in_order_is_refused():
    with pytest.raises(ValueError, match="0, 1, 2"):
        derive.vocabulary_lines(stored_dict(("a", 1), ("b", 0)))


def test_an_object_that_would_run_code_is_refused_and_does_not_run(tmp_path):
    target = tmp_path / "ran"
    data = f"cos\nmkdir\n(V{target}\ntR.".encode()
    with pytest.raises(ValueError, match="instruction GLOBAL at byte 0"):
        derive.vocabulary_lines(data)
    assert not target.exists()


def r_matrix(values, names, attribute=b"dim"):
    """An R data file of one matrix with row names, as R 3 writes it."""

    def number(value):
        return struct.pack(">i", value)

    def string(text):
        return number(0x40009) + number(len(text)) + text

    def symbol(text):
        return number(1) + string(text)

    rows, columns = values.shape
    body = b"RDX2\nX\n" + number(2) + number(0x40400) + number(0x20300)
    body += number(0x402) + symbol(b"matrix")
    body += number(0x30E) + number(values.size)
    body += values.astype(">f8").tobytes(order="F")
    body += number(0x402) + symbol(attribute) + number(13) + number(2)
    body += number(rows) + number(columns)
    body += number(0x402) + symbol(b"dimnames") + number(19) + number(2)
    body += number(16) + number(rows) + b"".join(string(name) for name in names)
    return lzma.compress(body + number(0xFE) + number(0xFE))


def test_a_matrix_of_r_becomes_lines_with_the_same_doubles():
    values = np.array([[0.1, -2.0, 1e-7], [1 / 3, 5e22, -0.0]])
    names = ["the", "naïve"]
    data = r_matrix(values, [name.encode() for name in names])
    lines = derive.glove_lines(data).decode().splitlines()
    assert [line.split(" ")[0] for line in lines] == names
    back = [[float(x) for x in line.split(" ")[1:]] for line in lines]
    np.testing.assert_array_equal(back, values)
    assert lines[0] == "the 0.1 -2.0 1e-07"


def test_another_object_of_r_is_refused():
    with pytest.raises(ValueError, match="plain matrix; it has a 'levels'"):
        derive.glove_lines(r_matrix(np.zeros((1, 2)), [b"a"], attribute=b"levels"))
    with pytest.raises(ValueError, match="data must begin with"):
        derive.glove_lines(lzma.compress(b"RDX3\nX\n"))


def test_an_archive_holds_the_matching_files_in_natural_order():
    files = {f"s{i}/{j}.pgm": b"%d" % i for i in (10, 2, 1) for j in (10, 9)}
    data = derive.tar_of(files | {"s2/1.jpg": b""}, "s[2-9]/*.pgm", "s10/*.pgm")
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        names = archive.getnames()
        assert {(m.mtime, m.uid, m.uname, m.mode) for m in archive} == {
            (0, 0, "", 0o644)
        }
    assert names == ["s2/9.pgm", "s2/10.pgm", "s10/9.pgm", "s10/10.pgm"]
    backwards = dict(reversed(files.items()))
    assert derive.tar_of(backwards, "s*") == derive.tar_of(files, "s*")


def filtered(image, kinds):
    """Filters an image as the PNG specification says, line by line."""
    lines = []
    above = np.zeros(image.shape[1] + 1, int)
    for line, kind in zip(image, kinds, strict=True):
        here = np.concatenate([[0], line.astype(int)])
        left, up, corner = here[:-1], above[1:], above[:-1]
        paeth = []
        for a, b, c in zip(left, up, corner, strict=True):
            far = [abs(b - c), abs(a - c), abs(a + b - 2 * c)]
            paeth.append((a, b, c)[far.index(min(far))])
        guess = [0 * left, left, up, (left + up) // 2, np.array(paeth)][kind]
        lines.append(
            bytes([kind]) + ((here[1:] - guess) % 256).astype(np.uint8).tobytes()
        )
        above = here
    return b"".join(lines)


def png(image, kinds, depth=8):
    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + b"\0\0\0\0"

    height, width = image.shape
    head = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    packed = zlib.compress(filtered(image, kinds))
    body = chunk(b"IHDR", head) + chunk(b"tEXt", b"note")
    body += chunk(b"IDAT", packed[:50]) + chunk(b"IDAT", packed[50:])
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


def test_images_of_every_filter_are_packed_by_index():
    numbers = np.random.default_rng(0)
    images = numbers.integers(0, 256, (12, 28, 28), dtype=np.uint8)
    images[:6] //= 64  # smooth ones, where ties between neighbours are common
    kinds = numbers.integers(0, 5, (12, 28))
    files = {
        f"train/{i % 10}/{i}.png": png(images[i], kinds[i]) for i in reversed(range(12))
    }
    data = derive.idx_images(files | {"test/0/0.png": b""}, "train")
    assert struct.unpack(">IIII", data[:16]) == (2051, 12, 28, 28)
    np.testing.assert_array_equal(
        np.frombuffer(data, np.uint8, offset=16).reshape(12, 28, 28), images
    )
    labels = derive.idx_labels(files, "train")
    assert labels == struct.pack(">II", 2049, 12) + bytes([*range(10), 0, 1])


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"GIF89a", "must be a PNG"),
        (png(np.zeros((28, 28)), [0] * 28, depth=16), "grey, 8 bit, 28 x 28"),
        (png(np.zeros((28, 27)), [0] * 28), "grey, 8 bit, 28 x 28"),
    ],
)
def test_another_kind_of_image_is_refused(data, fault):
    with pytest.raises(ValueError, match=fault):
        derive.idx_images({"train/0/0.png": data}, "train")


def game(moves, start=START, result="1-0", event="杯"):
    lines = "\n".join(f"{i + 1}. {move}" for i, move in enumerate(moves))
    return f'[Event "{event}"]\n[FEN "{start}"]\n\n{lines}\n{result}\n'.encode("big5")


def test_games_are_sampled_once_each_in_the_order_of_the_seed():
    moves = {i: [f"炮二平五 馬{i}進{j}" for j in range(9)] for i in range(6)}
    files = {f"games/{i}.pgn": game(moves[i], event="甲") for i in range(6)}
    files["games/6.pgn"] = game(moves[0], event="乙")  # the same moves
    files["games/7.pgn"] = game(moves[0], result="0-1")  # and another result
    files["games/8.pgn"] = game(moves[1][:5])  # short
    files["games/9.pgn"] = game([*moves[1], "帥"], start="9/9/9")
    files["elsewhere/0.pgn"] = game([*moves[2], "帥"])
    order = sorted(name for name in files if name.startswith("games"))
    random.Random(5).shuffle(order)
    order = [name for name in order if name[6] not in "89"]
    order.remove(max("games/0.pgn", "games/6.pgn", key=order.index))
    expected = [files[name].decode("big5").strip() for name in order]
    data = derive.sampled_games(files, "games", 5, 99).decode()
    assert data == "\n\n".join(expected) + "\n"
    assert derive.sampled_games(files, "games", 5, 2).decode() == (
        "\n\n".join(expected[:2]) + "\n"
    )
