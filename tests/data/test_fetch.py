"""Sets are found in the stated order, and a download is whole or not there at all."""

import gzip
import hashlib
import http.server
import io
import os
import pathlib
import signal
import subprocess
import sys
import tarfile
import textwrap
import threading
import time

import pytest

from kexue_jax.data import fetch, registry

REPOSITORY, COMMIT = "owner/name", "c0ffee" + "0" * 34
TEXT = "".join(f"line {i}\n" for i in range(400)).encode()
PATH = f"/{REPOSITORY}/{COMMIT}/some folder/text.txt".replace(" ", "%20")


def row(content=TEXT, published=None, **changes):
    """An entry of the registry for one file, packed by gzip."""
    published = content if published is None else published
    blob = hashlib.sha1(b"blob %d\0" % len(published) + published).hexdigest()
    file = {
        "name": "text.txt.gz",
        "packing": "gzip",
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "path": "some folder/text.txt",
        "published_size": len(published),
        "published_blob": blob[:12],
    }
    words = dict.fromkeys(("title", "task", "licence", "citation", "trimmed"), "words")
    return {
        **words,
        "name": "lines",
        "language": "en",
        "commits": {REPOSITORY: COMMIT},
        "files": [{**file, **changes}],
    }


class Server:
    """A web server on this machine; `answers` maps paths to bytes or to functions."""

    def __init__(self):
        self.answers, self.asked = {}, []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.asked.append(self.path)
                answer = outer.answers.get(self.path)
                if answer is None:
                    self.send_error(404)
                elif callable(answer):
                    answer(self)
                else:
                    outer.send(self, answer)

            def log_message(self, *words):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,))

    @staticmethod
    def send(handler, body, announced=None):
        handler.send_response(200)
        handler.send_header("Content-Length", str(announced or len(body)))
        handler.end_headers()
        handler.wfile.write(body)


@pytest.fixture
def server():
    server = Server()
    server.thread.start()
    yield server
    server.http.shutdown()
    server.thread.join()
    server.http.server_close()


@pytest.fixture(autouse=True)
def house(monkeypatch, tmp_path):
    """A machine without data, without network, with a cache of its own."""
    for name in ("KEXUE_DATA", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KEXUE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("KEXUE_DATA_URL", "http://127.0.0.1:9")  # discard: nobody
    monkeypatch.setattr(fetch, "_shared_folder", lambda: tmp_path / "shared")
    return tmp_path


def store(folder, content=TEXT, level=6):
    """Puts a copy of the file of `row` below a folder of sets."""
    (folder / "lines").mkdir(parents=True)
    packed = gzip.compress(content, level, mtime=7)
    (folder / "lines" / "text.txt.gz").write_bytes(packed)
    return folder / "lines"


def left(folder):
    return sorted(p.name for p in folder.rglob("*") if p.is_file())


def run(code, *arguments, **options):
    """Starts another Python that knows `row` as the variable `entry`."""
    head = "import sys, json\nfrom kexue_jax.data import fetch, registry\n"
    head += f"entry = registry.parse({options.pop('row', row())!r})\n"
    command = [sys.executable, "-c", head + textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, **options)


def test_a_download_is_the_published_file_and_is_asked_for_once(server, house, capsys):
    server.answers[PATH] = TEXT
    entry = registry.parse(row())
    for _ in range(2):
        folder = house / "cache" / "lines"
        fetch.download(entry, folder, base_url=server.url)
        assert gzip.decompress((folder / "text.txt.gz").read_bytes()) == TEXT
    assert server.asked == [PATH]
    assert left(house) == ["text.txt.gz"]


def test_the_mirror_is_named_by_the_environment_too(server, house, monkeypatch):
    server.answers[PATH] = TEXT
    monkeypatch.setenv("KEXUE_DATA_URL", server.url)
    folder = fetch.locate(registry.parse(row()))
    assert folder == house / "cache" / "lines"
    assert fetch.read_bytes(registry.parse(row()), "text.txt.gz") == TEXT
    with fetch.open_text(registry.parse(row()), "text.txt.gz") as lines:
        assert next(lines) == "line 0\n"
    assert server.asked == [PATH]


def test_without_a_mirror_the_address_is_that_of_github(monkeypatch):
    monkeypatch.delenv("KEXUE_DATA_URL")
    (file,) = registry.parse(row()).files
    assert fetch.url_of(file.published) == f"https://raw.githubusercontent.com{PATH}"
    archive = file.published._replace(path=None)
    expected = f"https://github.com/{REPOSITORY}/archive/{COMMIT}.tar.gz"
    assert fetch.url_of(archive) == expected
    assert fetch.url_of(file.published, "http://mirror/") == f"http://mirror{PATH}"


def test_the_same_content_is_packed_into_the_same_bytes(server, house):
    server.answers[PATH] = TEXT
    for name in ("a", "b"):
        fetch.download(registry.parse(row()), house / name, base_url=server.url)
    packed = [(house / name / "text.txt.gz").read_bytes() for name in ("a", "b")]
    assert packed[0] == packed[1]


@pytest.mark.parametrize("wrong", [TEXT.replace(b"7", b"8", 1), TEXT[:-9], b""])
def test_a_wrong_checksum_is_refused_and_nothing_is_left(server, house, wrong):
    server.answers[PATH] = wrong
    with pytest.raises(fetch.ChecksumError) as error:
        fetch.download(registry.parse(row()), house / "cache", base_url=server.url)
    for word in (
        "some folder/text.txt",
        hashlib.sha256(TEXT).hexdigest(),
        hashlib.sha256(wrong).hexdigest(),
    ):
        assert word in str(error.value)
    assert list((house / "cache").iterdir()) == []


@pytest.mark.parametrize(
    ("wrong", "what"), [(TEXT[:-9], "size"), (TEXT.swapcase(), "git blob id")]
)
def test_a_file_to_be_trimmed_is_known_by_size_and_git_blob_id(
    server, house, wrong, what
):
    part = row(TEXT[:70], TEXT, derive=["first_lines", 10])
    server.answers[PATH] = wrong
    with pytest.raises(fetch.ChecksumError, match=f"must have the {what}"):
        fetch.download(registry.parse(part), house / "cache", base_url=server.url)
    assert list((house / "cache").iterdir()) == []


def test_the_subset_is_taken_from_the_full_file(server, house):
    part = registry.parse(row(TEXT[:70], TEXT, derive=["first_lines", 10]))
    server.answers[PATH] = TEXT
    fetch.download(part, house / "cache", base_url=server.url)
    assert fetch.read_bytes(part, "text.txt.gz", house / "cache") == TEXT[:70]


def test_a_subset_that_is_not_the_stored_one_is_refused(server, house):
    part = registry.parse(row(TEXT[:70], TEXT, derive=["first_lines", 11]))
    server.answers[PATH] = TEXT
    with pytest.raises(fetch.ChecksumError, match=r"text\.txt\.gz, made from"):
        fetch.download(part, house / "cache", base_url=server.url)
    assert list((house / "cache").iterdir()) == []


def test_a_download_that_the_server_cuts_leaves_nothing_and_can_be_repeated(
    server, house
):
    entry, folder = registry.parse(row()), house / "cache"
    server.answers[PATH] = lambda handler: server.send(handler, TEXT[:99], len(TEXT))
    with pytest.raises((fetch.DataNotFoundError, fetch.ChecksumError), match="127"):
        fetch.download(entry, folder, base_url=server.url)
    assert list(folder.iterdir()) == []
    server.answers[PATH] = TEXT
    fetch.download(entry, folder, base_url=server.url)
    assert fetch.locate(entry, folder) == folder


def test_a_process_killed_half_way_leaves_no_file_of_that_name(server, house):
    half_sent, release = threading.Event(), threading.Event()

    def half(handler):
        server.send(handler, TEXT[: len(TEXT) // 2], len(TEXT))
        half_sent.set()
        release.wait(20)

    server.answers[PATH] = half
    folder = house / "cache" / "lines"
    process = run("fetch.download(entry, sys.argv[1])", folder, env=env(server))
    assert half_sent.wait(20)
    while not list(folder.glob(".part-*")):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    release.set()
    assert not (folder / "text.txt.gz").exists()
    (part,) = folder.glob(".part-*")

    server.answers[PATH] = TEXT
    os.utime(part, (0, 0))  # as if it had lain there for days
    fetch.download(registry.parse(row()), folder, base_url=server.url)
    assert fetch.read_bytes(registry.parse(row()), "text.txt.gz", folder) == TEXT
    assert [p.name for p in folder.iterdir()] == ["text.txt.gz"]


def test_the_fresh_part_of_another_process_is_left_alone(server, house):
    server.answers[PATH] = TEXT
    (house / "cache" / ".part-other").mkdir(parents=True)
    fetch.download(registry.parse(row()), house / "cache", base_url=server.url)
    assert (house / "cache" / ".part-other").is_dir()


def test_a_half_finished_file_in_the_cache_is_fetched_again(server, house, monkeypatch):
    monkeypatch.setenv("KEXUE_DATA_URL", server.url)
    server.answers[PATH] = TEXT
    file = store(house / "cache") / "text.txt.gz"
    file.write_bytes(file.read_bytes()[:-20])
    fetch.locate(registry.parse(row()))
    assert gzip.decompress(file.read_bytes()) == TEXT


def env(server):
    return {**os.environ, "KEXUE_DATA_URL": server.url, "NO_PROXY": "127.0.0.1"}


def test_two_processes_at_once_both_end_with_a_whole_file(server, house):
    both = threading.Barrier(2)

    def answer(handler):
        both.wait(20)  # neither is answered before both have asked
        server.send(handler, TEXT)

    server.answers[PATH] = answer
    folder = house / "cache" / "lines"
    code = """
        fetch.download(entry, sys.argv[1])
        fetch.locate(entry, sys.argv[1])
    """
    processes = [run(code, folder, env=env(server)) for _ in range(2)]
    complaints = [process.communicate(timeout=30)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], complaints
    assert server.asked == [PATH, PATH]
    assert [p.name for p in folder.iterdir()] == ["text.txt.gz"]


def test_without_network_one_error_names_every_way_in_order(house, monkeypatch):
    monkeypatch.setenv("KEXUE_DATA", str(house / "mine"))
    with pytest.raises(FileNotFoundError) as error:
        fetch.locate(registry.parse(row()))
    message, place = str(error.value), -1
    for word in (
        "'lines'",
        "an explicit path: none was given",
        f"KEXUE_DATA: {house / 'mine' / 'lines'}",
        f"../shared/data: {house / 'shared' / 'lines'}",
        f"the cache: {house / 'cache' / 'lines'}",
        f"download: http://127.0.0.1:9{PATH} could not be fetched",
        "python -m kexue_jax.data.fetch lines --to FOLDER",
    ):
        assert message.find(word) > place, f"{word!r} in\n{message}"
        place = message.find(word)
    assert left(house) == []


def test_an_address_that_is_gone_is_reported_with_its_status(server, house):
    with pytest.raises(fetch.DataNotFoundError, match="404"):
        fetch.download(registry.parse(row()), house / "cache", base_url=server.url)


def test_the_ways_are_tried_in_the_stated_order(server, house, monkeypatch):
    monkeypatch.setenv("KEXUE_DATA_URL", server.url)
    monkeypatch.setenv("KEXUE_DATA", str(house / "mine"))
    server.answers[PATH] = TEXT
    entry = registry.parse(row())
    explicit = store(house / "explicit")
    others = [store(house / name) for name in ("mine", "shared", "cache")]
    assert fetch.locate(entry, house / "explicit") == explicit
    assert fetch.locate(entry, explicit) == explicit
    for folder in others:
        assert fetch.locate(entry) == folder
        (folder / "text.txt.gz").unlink()
    assert server.asked == []
    assert fetch.locate(entry) == house / "cache" / "lines"
    assert server.asked == [PATH]


def test_an_explicit_path_without_the_set_is_an_error_though_others_have_it(house):
    store(house / "shared")
    with pytest.raises(FileNotFoundError, match=r"path must be .*'lines'.*nowhere"):
        fetch.locate(registry.parse(row()), house / "nowhere")
    (house / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"empty has no text\.txt\.gz"):
        fetch.locate(registry.parse(row()), house / "empty")


@pytest.mark.parametrize("damage", ["cut", "changed"])
def test_a_damaged_copy_of_the_user_is_an_error_and_not_passed_over(
    house, monkeypatch, damage
):
    monkeypatch.setenv("KEXUE_DATA", str(house / "mine"))
    store(house / "shared")
    content = TEXT[:-1] if damage == "cut" else TEXT.swapcase()
    folder = store(house / "mine", content)
    for path in (None, folder):
        with pytest.raises(fetch.ChecksumError, match=r"mine/lines/text\.txt\.gz"):
            fetch.locate(registry.parse(row()), path)


def test_a_copy_packed_by_another_compressor_is_taken(house):
    folder = store(house / "mine", level=1)
    assert fetch.locate(registry.parse(row()), folder) == folder


def test_a_bomb_is_not_unpacked(house):
    folder = store(house / "mine", bytes(10**8))
    begin = time.monotonic()
    with pytest.raises(fetch.ChecksumError, match="does not unpack to"):
        fetch.locate(registry.parse(row()), folder)
    assert time.monotonic() - begin < 1


def test_only_the_files_asked_for_are_fetched(server, house):
    two = row()
    two["files"].append({**two["files"][0], "name": "more.txt.gz", "path": "absent"})
    server.answers[PATH] = TEXT
    entry = registry.parse(two)
    fetch.download(entry, house / "a", files=["text.txt.gz"], base_url=server.url)
    assert fetch.locate(entry, house / "a", files=["text.txt.gz"]) == house / "a"
    with pytest.raises(FileNotFoundError, match=r"has no more\.txt\.gz"):
        fetch.locate(entry, house / "a")


def archive(*entries):
    """A repository's archive as GitHub makes it, with some members more."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for entry, content in entries:
            info = entry if isinstance(entry, tarfile.TarInfo) else None
            info = info or tarfile.TarInfo(f"name-{COMMIT}/{entry}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def linked(name, target, kind):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


ARCHIVE_PATH = f"/{REPOSITORY}/archive/{COMMIT}.tar.gz"
ZEROS = b"\0" * 9


def archive_row():
    """A set of one file, made of the labels of an archive of images."""
    content = b"\0\0\x08\x01\0\0\0\2" + bytes([3, 7])
    labels = row(content, derive=["idx_labels", "train"], name="labels.gz")
    (file,) = labels["files"]
    for key in ("path", "published_size", "published_blob"):
        del file[key]
    return labels


def test_a_set_of_many_files_is_made_from_one_archive(server, house):
    server.answers[ARCHIVE_PATH] = archive(
        ("train/7/1.png", ZEROS), ("train/3/0.png", ZEROS), ("README", b"")
    )
    entry = registry.parse(archive_row())
    fetch.download(entry, house / "cache", base_url=server.url)
    assert fetch.read_bytes(entry, "labels.gz", house / "cache")[8:] == bytes([3, 7])
    assert server.asked == [ARCHIVE_PATH]


@pytest.mark.parametrize(
    ("member", "fault"),
    [
        (tarfile.TarInfo("../outside"), "leaves the archive"),
        (tarfile.TarInfo("name/../../outside"), "leaves the archive"),
        (tarfile.TarInfo("/outside"), "an absolute path"),
        (linked("name/link", "/etc/passwd", tarfile.SYMTYPE), "a link"),
        (linked("name/link", "../outside", tarfile.LNKTYPE), "a link"),
        (linked("name/pipe", "", tarfile.FIFOTYPE), "a link or a device"),
    ],
)
def test_a_member_that_could_leave_the_archive_is_refused(server, house, member, fault):
    server.answers[ARCHIVE_PATH] = archive(("train/3/0.png", ZEROS), (member, b""))
    entry = registry.parse(archive_row())
    with pytest.raises(ValueError, match=fault):
        fetch.download(entry, house / "cache", base_url=server.url)
    assert list((house / "cache").iterdir()) == []
    assert left(house) == []


@pytest.mark.parametrize("body", [b"no archive", archive(("a/b", TEXT))[:-30]])
def test_a_broken_archive_is_an_error_of_its_own(server, house, body):
    server.answers[ARCHIVE_PATH] = body
    with pytest.raises(fetch.ChecksumError, match=r"not a whole archive|must have the"):
        fetch.download(
            registry.parse(archive_row()), house / "cache", base_url=server.url
        )
    assert list((house / "cache").iterdir()) == []


def test_an_archive_without_the_images_is_refused(server, house):
    server.answers[ARCHIVE_PATH] = archive(("train/3/0.png", ZEROS))
    with pytest.raises(fetch.ChecksumError, match=r"labels\.gz, made from the archive"):
        fetch.download(
            registry.parse(archive_row()), house / "cache", base_url=server.url
        )


def test_a_name_that_leads_out_of_the_folder_is_refused():
    for name in ("../text", "/text", "a/../../text", ""):
        with pytest.raises(ValueError, match="name must be a path below"):
            registry.parse(row(name=name))


@pytest.fixture
def known(monkeypatch):
    """Makes `row` the only set of the registry."""
    monkeypatch.setattr(registry, "_rows", lambda: {"lines": row()})


@pytest.mark.usefixtures("known")
def test_the_command_downloads_into_the_folder_it_is_given(
    server, house, monkeypatch, capsys
):
    server.answers[PATH] = TEXT
    monkeypatch.setenv("KEXUE_DATA_URL", server.url)
    store(house / "shared")
    fetch.main(["lines", "--to", str(house / "to")])
    assert fetch.locate("lines", house / "to") == house / "to" / "lines"
    assert f"lines: {house / 'to' / 'lines'} (1 files" in capsys.readouterr().out
    fetch.main(["lines"])
    assert f"lines: {house / 'shared' / 'lines'} (1" in capsys.readouterr().out


@pytest.mark.usefixtures("known")
def test_the_command_ends_with_status_1_and_one_message(capsys):
    with pytest.raises(SystemExit) as end:
        fetch.main(["lines"])
    assert end.value.code == 1
    assert "tried, in order:" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        fetch.main(["line"])
    assert "did you mean 'lines'?" in capsys.readouterr().err
    with pytest.raises(SystemExit) as end:
        fetch.main([])
    assert end.value.code == 2


def test_the_command_lists_every_set(capsys):
    fetch.main(["--list"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["name", *registry.names()]


def test_unknown_sets_and_files_are_answered_with_the_nearest():
    with pytest.raises(ValueError, match=r"got 'minst'; did you mean 'mnist'"):
        fetch.locate("minst")
    with pytest.raises(ValueError, match=r"got 'dev\.tsv'; did you mean 'dev\.tsv\.gz"):
        fetch.open_text("sst2", "dev.tsv")
    with pytest.raises(ValueError, match="files must be a tuple"):
        fetch.locate("sst2", files="dev.tsv.gz")
    (file,) = registry.select(registry.load("sst2"), iter(["dev.tsv.gz"]))
    assert file.name == "dev.tsv.gz"


def test_without_pooch_the_error_says_what_to_install(monkeypatch):
    monkeypatch.delenv("KEXUE_CACHE")
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(
        ModuleNotFoundError, match=r"kexue-jax\[train\], set KEXUE_DATA"
    ):
        fetch.cache_folder()


def test_without_a_choice_the_cache_is_that_of_the_system(monkeypatch):
    monkeypatch.delenv("KEXUE_CACHE")
    assert fetch.cache_folder().name == "kexue_jax"


def test_importing_the_module_imports_no_network_and_no_jax():
    code = "assert not {'pooch', 'requests', 'jax', 'grain'} & set(sys.modules)"
    process = run(code)
    assert process.communicate()[1] == b""
    assert process.returncode == 0


def test_the_shared_folder_lies_beside_the_checkout(monkeypatch):
    monkeypatch.undo()
    root = pathlib.Path(fetch.__file__).parents[2]
    expected = root.parent / "shared" / "data"
    found = fetch._shared_folder()
    assert found is None or found.resolve() == expected.resolve()
