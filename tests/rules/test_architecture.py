"""The shape of the repository: folder = distribution = import package, rooms of a bearable size, telling names.

What may import what stands in `.importlinter`.
"""

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PORTIONS = {
    "protos": {"api"},
    "kit": {"kit"},
    "services/tuner": {"tuner", "nn", "optim"},
    "services/coordinator": {"coordinator"},
    "services/squeezer": {"squeezer"},
    "clients/python": {"client"},
    "clients/worker": {"worker"},
}
MOST_LINES = 400
SAYS_NOTHING = {"utils", "util", "helpers", "helper", "common", "misc", "base", "manager", "handler", "processor"}


def is_generated(path):
    return path.stem.endswith(("_pb2", "_pb2_grpc"))


SOURCES = sorted(
    path for folder in PORTIONS for path in (ROOT / folder / "hydro").rglob("*.py") if not is_generated(path)
)
TESTS = sorted((ROOT / "tests").rglob("*.py"))


def shown(paths):
    return [str(path.relative_to(ROOT)) for path in paths]


def module_name(path):
    parts = path.relative_to(next(ROOT / folder for folder in PORTIONS if path.is_relative_to(ROOT / folder))).parts
    return ".".join(part.removesuffix(".py") for part in parts if part != "__init__.py")


def test_there_is_code_to_check():
    assert len(SOURCES) > 50


def test_no_portion_of_the_namespace_claims_it_all():
    """An __init__.py in a `hydro` folder would hide every other portion."""
    assert shown([*ROOT.glob("*/hydro/__init__.py"), *ROOT.glob("*/*/hydro/__init__.py")]) == []


@pytest.mark.parametrize("folder", PORTIONS)
def test_a_folder_is_a_distribution_and_holds_its_packages_alone(folder):
    assert (ROOT / folder / "pyproject.toml").is_file()
    packages = {path.name for path in (ROOT / folder / "hydro").iterdir() if path.name != "__pycache__"}
    assert packages == PORTIONS[folder]


def test_every_folder_of_modules_is_a_package():
    """But the portions' own `hydro`, and the generated packages of the contract."""
    folders = {path.parent for path in SOURCES if path.parent.name != "hydro"}
    bare = [folder for folder in folders if not (folder / "__init__.py").exists() and "api" not in folder.parts]
    allowed = {"versions", "migrations"}  # alembic reads these as files
    assert shown(folder for folder in bare if folder.name not in allowed) == []


def test_names_of_modules_say_what_they_hold():
    assert shown(path for path in SOURCES + TESTS if SAYS_NOTHING & set(path.stem.split("_"))) == []
    folders = {path.parent for path in SOURCES + TESTS}
    assert shown(folder for folder in folders if SAYS_NOTHING & set(folder.name.split("_"))) == []


def test_no_module_swallows_the_rest():
    lengths = {path: len(path.read_text().splitlines()) for path in SOURCES + TESTS}
    assert {str(path.relative_to(ROOT)): lines for path, lines in lengths.items() if lines > MOST_LINES} == {}


def test_test_modules_have_names_of_their_own():
    names = [path.name for path in TESTS if path.name.startswith("test_")]
    assert sorted({name for name in names if names.count(name) > 1}) == []
    packages = {path.parent for path in TESTS if path.name == "__init__.py"}
    assert shown(path for path in TESTS if path.parent in packages and path.name.startswith("test_")) == []


@pytest.mark.parametrize("path", [path for path in SOURCES if "__all__" in path.read_text()], ids=module_name)
def test_every_name_in_all_exists(path):
    module = importlib.import_module(module_name(path))
    assert len(module.__all__) == len(set(module.__all__))
    assert [name for name in module.__all__ if not hasattr(module, name)] == []
