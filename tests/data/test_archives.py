"""Archives and compressed files are read without trusting them."""

import bz2
import gzip
import io
import lzma
import tarfile

import pytest

from kexue_jax.data import archives

TEXT = "漢字\r\nletters\n".encode() * 50


def tar(path, *entries):
    with tarfile.open(path, "w:xz") as archive:
        for info, content in entries:
            info = tarfile.TarInfo(info) if isinstance(info, str) else info
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize("packing", [None, "gzip", "xz"])
def test_packing_is_undone_exactly_and_depends_on_nothing_else(packing):
    packed = archives.pack(TEXT, packing)
    assert archives.unpack(packed, packing, len(TEXT)) == TEXT
    assert archives.pack(TEXT, packing) == packed


@pytest.mark.parametrize("packing", [None, "gzip", "xz"])
def test_a_cut_stream_or_one_of_another_size_unpacks_to_none(packing):
    packed = archives.pack(TEXT, packing)
    assert archives.unpack(packed[:-5], packing, len(TEXT)) is None
    assert archives.unpack(packed, packing, len(TEXT) - 1) is None
    assert archives.unpack(packed, packing, len(TEXT) + 1) is None


@pytest.mark.parametrize("packing", ["gzip", "xz"])
def test_what_is_no_stream_unpacks_to_none(packing):
    assert archives.unpack(b"plain words", packing, 11) is None


def test_an_unknown_packing_is_named():
    with pytest.raises(ValueError, match=r"packing must be .*got 'rar'"):
        archives.pack(TEXT, "rar")


@pytest.mark.parametrize(
    ("name", "compress"),
    [
        ("a.gz", gzip.compress),
        ("a.bz2", bz2.compress),
        ("a.xz", lzma.compress),
        ("a.txt", bytes),
    ],
)
def test_a_file_is_opened_by_its_suffix(tmp_path, name, compress):
    (tmp_path / name).write_bytes(compress(TEXT))
    with archives.open_packed(tmp_path / name) as stream:
        assert stream.read() == TEXT


def test_members_are_yielded_in_order_without_folders(tmp_path):
    folder = tarfile.TarInfo("b")
    folder.type = tarfile.DIRTYPE
    path = tar(tmp_path / "a.tar.xz", (folder, b""), ("b/2", b"two"), ("b/1", b""))
    assert list(archives.members(path)) == [("b/2", b"two"), ("b/1", b"")]
    assert [p.name for p in tmp_path.iterdir()] == ["a.tar.xz"]


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/x", "C:/x", "a\\..\\x"])
def test_a_path_that_could_leave_the_archive_is_refused(tmp_path, name):
    path = tar(tmp_path / "a.tar.xz", (name, b"x"))
    with pytest.raises(ValueError, match="must hold plain files below its own folder"):
        list(archives.members(path))


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_are_refused(tmp_path, kind):
    info = tarfile.TarInfo("a")
    info.type, info.linkname = kind, "b"
    with pytest.raises(ValueError, match="a link or a device"):
        list(archives.members(tar(tmp_path / "a.tar.xz", (info, b""))))


def test_an_archive_that_grows_too_large_is_refused_before_it_is_read(tmp_path):
    path = tar(tmp_path / "a.tar.xz", ("a", bytes(600)), ("b", bytes(600)))
    names = []
    with pytest.raises(
        ValueError, match=r"at most 1,000 bytes; 'b' brings it to 1,200"
    ):
        names.extend(name for name, _ in archives.members(path, limit=1000))
    assert len(list(archives.members(path, limit=1200))) == 2
