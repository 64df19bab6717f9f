import gzip
import hashlib
import io
import lzma
import struct
import tarfile

import numpy as np
import pytest

from kexue_jax.data import registry
from kexue_jax.data.pixels import VOCABULARY, block_means, pixels, read_idx, read_jpeg


def set_of(name, folder, packing, contents):
    """A set of the files `contents`, packed in `folder`."""
    files = []
    for file, content in contents.items():
        pack = gzip.compress if packing == "gzip" else lzma.compress
        (folder / file).write_bytes(pack(content))
        files.append(
            {
                "name": file,
                "packing": packing,
                "size": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
                "path": file,
            }
        )
    words = dict.fromkeys(("title", "task", "licence", "citation", "trimmed"), "words")
    about = {"name": name, "language": "–", "commits": {"a/b": "0" * 40}}
    return registry.parse({**words, **about, "files": files})


def idx(array):
    head = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}i", *array.shape)
    return head + array.astype(np.uint8).tobytes()


def mnist(folder, train, test):
    contents = {}
    for name, (image, label) in (("train", train), ("t10k", test)):
        contents[f"{name}-images-idx3-ubyte.gz"] = idx(image)
        contents[f"{name}-labels-idx1-ubyte.gz"] = idx(label)
    return set_of("mnist", folder, "gzip", contents)


def jpeg(colour, size=(32, 32)):
    image = pytest.importorskip("PIL.Image")
    image.new("RGB", size, colour).save(file := io.BytesIO(), "JPEG")
    return file.getvalue()


def tar(members):
    with tarfile.open(fileobj=(file := io.BytesIO()), mode="w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def test_pictures_are_read_in_rows_with_their_own_labels(tmp_path):
    image = np.arange(5 * 16).reshape(5, 4, 4)
    train, test = (image, np.arange(5)), (image[:3] + 100, np.array([4, 0, 2]))
    entry = mnist(tmp_path, train, test)
    data = pixels(entry, batch=5, path=tmp_path)
    batch = data.source(0)
    assert batch["inputs"].dtype == np.int32
    np.testing.assert_array_equal(batch["inputs"][:, 0], 16 * batch["label"])
    np.testing.assert_array_equal(
        batch["inputs"], batch["inputs"][:, :1] + np.arange(16)
    )
    (apart,) = data.held_out
    assert apart["inputs"][:3, 0].tolist() == [100, 116, 132]
    assert apart["label"][:3].tolist() == [4, 0, 2]
    assert apart["weight"].tolist() == [1, 1, 1, 0, 0]
    (fewer,) = pixels(entry, block=2, batch=2, held_out=2, path=tmp_path).held_out
    assert fewer["inputs"][:, 0].tolist() == [103, 119]  # of 0, 1, 4, 5: 2.5, upwards
    assert fewer["inputs"].shape == (2, 4)


def test_means_are_those_of_squares_and_do_not_overflow():
    image = np.random.default_rng(0).integers(0, 256, (3, 8, 12)).astype(np.uint8)
    slow = np.zeros((3, 2, 3))
    for row in range(2):
        for column in range(3):
            square = image[:, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
            slow[:, row, column] = square.astype(float).mean(axis=(1, 2))
    found = block_means(image, 4)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, np.floor(slow + 0.5))
    assert block_means(np.full((1, 4, 4), 255, np.uint8), 4).item() == 255
    np.testing.assert_array_equal(block_means(image, 1), image)
    for wrong in (0, 3):
        with pytest.raises(ValueError, match=f"block .*8 and 12, got {wrong}"):
            block_means(image, wrong)


def test_an_idx_file_that_is_cut_or_of_another_type_is_refused():
    array = np.arange(6, dtype=np.uint8).reshape(2, 3)
    np.testing.assert_array_equal(read_idx(idx(array)), array)
    for wrong, message in (
        (b"", "begin as an idx file"),
        (idx(array)[:-1], "hold 6 bytes .*got 5"),
        (idx(array) + b"x", "hold 6 bytes .*got 7"),
        (b"\0\0\x0d" + idx(array)[3:], "begin as an idx file"),
        (idx(array)[:6], "begin as an idx file"),
    ):
        with pytest.raises(ValueError, match=message):
            read_idx(wrong)


def test_a_jpeg_becomes_grey_and_anything_else_is_refused():
    found = read_jpeg(jpeg((255, 0, 0), size=(4, 2)))
    assert (found.shape, found.dtype) == ((2, 4), np.uint8)
    np.testing.assert_allclose(found, 0.299 * 255, atol=2)
    for wrong in (b"", b"no picture", jpeg((9, 9, 9))[:200]):
        with pytest.raises(ValueError, match="content must be a whole JPEG"):
            read_jpeg(wrong)


def test_classes_of_folders_are_numbered_by_the_alphabet_in_both_parts(tmp_path):
    shades = {"truck": 200, "airplane": 20, "cat": 110}
    parts = {
        part: {
            f"{part}/{kind}/{number:04}.jpg": jpeg((shade,) * 3)
            for kind, shade in shades.items()
            for number in range(2)
        }
        for part in ("train", "test")
    }
    contents = {f"{part}.tar.xz": tar(members) for part, members in parts.items()}
    entry = set_of("cifar10_jpg", tmp_path, "xz", contents)
    data = pixels(entry, batch=6, path=tmp_path)
    assert data.classes == 3
    for batch in (data.source(0), *data.held_out):
        want = np.array([20, 110, 200])[batch["label"]]
        np.testing.assert_allclose(batch["inputs"].mean(axis=1), want, atol=2)
        assert batch["inputs"].shape == (6, 1024)


def test_digits_need_no_file_and_share_nothing_between_their_parts():
    data = pixels("digits", batch=1438)
    rows = data.source(0)["inputs"]
    assert rows.shape == (1438, 64)
    assert (rows.min(), rows.max()) == (0, VOCABULARY - 1)
    held_out = np.concatenate([b["inputs"][b["weight"] > 0] for b in data.held_out])
    assert len(held_out) == 359
    assert not {row.tobytes() for row in rows} & {row.tobytes() for row in held_out}


def test_wrong_arguments_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"name must be one of .*, got 'minst'"):
        pixels("minst")
    with pytest.raises(ValueError, match=r"name must be one of .*, got 'digits'"):
        pixels(set_of("digits", tmp_path, "gzip", {}))
    with pytest.raises(ValueError, match=r"block .* divide 8 and 8, got 3"):
        pixels("digits", block=3)
    for wrong in (0, 360):
        with pytest.raises(ValueError, match=f"held_out .* 1 to 359, got {wrong}"):
            pixels("digits", held_out=wrong)


@pytest.mark.parametrize(
    ("name", "block", "shape"),
    [
        ("mnist", 2, (10_000, 196)),
        pytest.param("cifar10_jpg", 1, (10_000, 1024), marks=pytest.mark.slow),
    ],
)
def test_the_real_sets_have_the_sizes_that_the_documentation_gives(
    name, block, shape, real_set
):
    data = pixels(name, block=block, batch=1000, path=real_set(name))
    rows = np.concatenate([b["inputs"] for b in data.held_out])
    label = np.concatenate([b["label"] for b in data.held_out])
    assert rows.shape == shape
    assert len(np.unique(label)) == data.classes == 10
    assert (rows.min(), rows.max()) == (0, 255)
