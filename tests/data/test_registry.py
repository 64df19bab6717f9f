"""The registry is complete, and the shared copies are what it says."""

import hashlib
import inspect
import pathlib
import re

import pytest

from kexue_jax.data import archives, derive, registry

SHARED = pathlib.Path(__file__).resolve().parents[3] / "shared" / "data"
needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason="needs ../shared/data beside the checkout"
)
SETS = [registry.load(name) for name in registry.names()]


def blob_of(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def test_there_are_46_sets():
    assert len(registry.names()) == 46


@pytest.mark.parametrize("entry", SETS, ids=lambda entry: entry.name)
def test_a_set_says_where_it_is_from_and_how_to_cite_it(entry):
    for word in ("title", "task", "language", "licence", "citation", "trimmed"):
        assert getattr(entry, word).strip()
    names = [file.name for file in entry.files]
    assert names
    assert len(set(names)) == len(names)
    for file in entry.files:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", file.published.repository)
        assert re.fullmatch("[0-9a-f]{40}", file.published.commit)


@pytest.mark.parametrize("entry", SETS, ids=lambda entry: entry.name)
def test_every_file_of_a_set_can_be_recognised(entry):
    for file in entry.files:
        published = file.published
        assert re.fullmatch("[0-9a-f]{64}", file.sha256)
        assert re.fullmatch("[0-9a-f]{64}", file.stored_sha256)
        assert file.size > 0
        if published.path is None:  # an archive: only the result is known
            assert published[3:] == (None, None, None)
            assert file.derive
        else:
            assert published.size > 0
            assert re.fullmatch("[0-9a-f]{12}", published.blob)
            assert (published.sha256 is None) == (file.derive is not None)
        if file.derive is None:
            assert (published.size, published.sha256) == (file.size, file.sha256)
        assert file.name.endswith({"gzip": ".gz", "xz": ".xz"}.get(file.packing, ""))


def test_every_derivation_is_a_function_with_these_arguments():
    seen = set()
    for file in (file for entry in SETS for file in entry.files):
        if file.derive is not None:
            name, *arguments = file.derive
            function = getattr(derive, name)
            inspect.signature(function).bind(b"", *arguments)
            seen.add(name)
    with pytest.raises(ValueError, match="derivation must be one of") as error:
        derive.apply(b"", ("system", "ls"))
    assert seen == set(re.findall(r"'(\w+)'", str(error.value))) - {"system"}


def test_an_unknown_set_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match=r"46 sets .*got 'cluener'.*'ner_cluener'"):
        registry.load("cluener")


def test_loading_reads_the_registry_anew_and_shares_nothing():
    assert registry.load("sst2") == registry.load("sst2")
    assert registry.load("sst2") is not registry.load("sst2")


@needs_shared
@pytest.mark.parametrize("entry", SETS, ids=lambda entry: entry.name)
def test_the_registry_and_the_shared_folder_list_the_same_files(entry):
    folder = SHARED / entry.name
    there = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "SOURCE.md"
    }
    assert there == {file.name for file in entry.files}


@needs_shared
@pytest.mark.parametrize("entry", SETS, ids=lambda entry: entry.name)
def test_the_registry_agrees_with_the_account_beside_the_shared_copy(entry):
    account = (SHARED / entry.name / "SOURCE.md").read_text("utf-8")
    flat = " ".join(account.split())
    for text in (entry.licence, entry.citation, entry.trimmed, entry.quality):
        assert text in flat
    companions = ("readme", "license")  # not in the account's list
    for file in entry.files:
        published = file.published
        source = f"`{published.repository}` (GitHub), commit `{published.commit}`"
        assert source in account
        if published.path and not file.name.lower().startswith(companions):
            line = f"`{published.path}` — {published.size:,} bytes, git blob "
            assert f"{line}`{published.blob}`" in account
            assert f"`{file.name}` |" in account
            assert f"`{file.stored_sha256[:16]}…`" in account


@needs_shared
def test_no_shared_set_is_missing_from_the_registry():
    assert {path.parent.name for path in SHARED.glob("*/SOURCE.md")} == set(
        registry.names()
    )


@needs_shared
@pytest.mark.slow
@pytest.mark.parametrize("entry", SETS, ids=lambda entry: entry.name)
def test_every_shared_copy_has_the_digests_of_the_registry(entry):
    for file in entry.files:
        data = (SHARED / entry.name / file.name).read_bytes()
        assert hashlib.sha256(data).hexdigest() == file.stored_sha256
        content = archives.unpack(data, file.packing, file.size)
        assert content is not None
        assert hashlib.sha256(content).hexdigest() == file.sha256
        if file.derive is None:
            assert blob_of(content).startswith(file.published.blob)
