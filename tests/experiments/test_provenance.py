from pathlib import Path

import pytest

from experiments.provenance import House, names_in

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def house(tmp_path):
    files = {
        "pack/__init__.py": "",
        "pack/room/__init__.py": (
            "from pack.room.one import first\nfrom pack.room.two import second\n"
        ),
        "pack/room/one.py": "from pack import stable\n\ndef first(): ...\n",
        "pack/room/two.py": "import numpy\n\ndef second(): ...\n",
        "pack/stable.py": "def late():\n    from pack.deep.inner import x\n",
        "pack/deep/__init__.py": "HERE = 1\n",
        "pack/deep/inner.py": "x = 1\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def behind(root, *names):
    return {p.relative_to(root).as_posix() for p in House(root).files_behind(names)}


def test_a_name_passed_on_by_a_package_leads_to_its_own_file_alone(house):
    assert behind(house, "pack.room:second") == {"pack/room/two.py"}


def test_imports_are_followed_also_inside_functions(house):
    want = {"pack/room/one.py", "pack/stable.py", "pack/deep/inner.py"}
    assert behind(house, "pack.room:first") == want


def test_a_package_that_defines_the_name_itself_counts(house):
    assert behind(house, "pack.deep:HERE") == {"pack/deep/__init__.py"}


def test_code_of_others_is_not_of_the_house(house):
    assert behind(house, "optax:adamw", "numpy:array") == set()


def test_a_commit_elsewhere_voids_nothing_and_one_here_does(house):
    before = House(house).digest(["pack.room:first"])
    (house / "pack/room/two.py").write_text("def second(): return 1\n")
    init = house / "pack/room/__init__.py"
    init.write_text(init.read_text() + "from pack.room.new import third\n")
    assert House(house).digest(["pack.room:first"]) == before
    (house / "pack/deep/inner.py").write_text("x = 2\n")
    assert House(house).digest(["pack.room:first"]) != before


def test_names_are_found_at_any_depth():
    config = {"a": {"make": "m:f", "b": ({"bind": "m:g"}, 3)}, "c": "not:this"}
    assert set(names_in(config)) == {"m:f", "m:g"}


def test_a_transform_of_ours_depends_on_its_file_and_not_on_its_neighbours():
    found = behind(ROOT, "kexue_jax.optim:sum_unit_gradients")
    assert found == {"kexue_jax/optim/surgery.py"}
