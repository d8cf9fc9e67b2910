from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hydro.kit.errors import InvalidArgument
from hydro.tuner.task_loading import fingerprint, load_task

SOURCE = "from hydro.worker import TrainingTask\n\nclass Mine(TrainingTask):\n    defaults = {'number': NUMBER}\n"


def _write(folder: Path, number: int, name: str = "mine_for_loading") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.py"
    path.write_text(SOURCE.replace("NUMBER", str(number)))
    return path


def test_a_task_is_loaded_from_its_folder(tmp_path: Path) -> None:
    _write(tmp_path, 1)
    assert load_task("mine_for_loading:Mine", str(tmp_path)).defaults == {"number": 1}


def test_modules_of_one_name_in_two_folders_are_told_apart(tmp_path: Path) -> None:
    for number in (1, 2):
        _write(tmp_path / str(number), number)
    for number in (1, 2, 1):
        assert load_task("mine_for_loading:Mine", str(tmp_path / str(number))).defaults == {"number": number}


def test_a_changed_source_is_imported_again_and_has_another_fingerprint(tmp_path: Path) -> None:
    _write(tmp_path, 1)
    load_task("mine_for_loading:Mine", str(tmp_path))
    before = fingerprint("mine_for_loading:Mine", str(tmp_path))
    _write(tmp_path, 22)
    assert load_task("mine_for_loading:Mine", str(tmp_path)).defaults == {"number": 22}
    assert fingerprint("mine_for_loading:Mine", str(tmp_path)) != before


def test_a_task_in_a_package_is_found(tmp_path: Path) -> None:
    package = tmp_path / "tasks_package"
    package.mkdir()
    (package / "__init__.py").touch()
    _write(package, 3, "inner")
    assert load_task("tasks_package.inner:Mine", str(tmp_path)).defaults == {"number": 3}


@pytest.mark.parametrize(
    ("entry_point", "field", "said"),
    [
        ("digits", "task.entry_point", 'not of the form "module:Class"'),
        ("no_such_module:Task", "task.entry_point", "no module 'no_such_module'"),
        ("mine_for_loading:Other", "task.entry_point", "no subclass of TrainingTask named 'Other'"),
    ],
)
def test_a_wrong_entry_point_is_named(tmp_path: Path, entry_point: str, field: str, said: str) -> None:
    _write(tmp_path, 1)
    with pytest.raises(InvalidArgument) as raised:
        load_task(entry_point, str(tmp_path))
    (violation,) = raised.value.violations
    assert violation.field == field
    assert said in violation.description


def test_a_folder_that_does_not_exist_is_named() -> None:
    with pytest.raises(InvalidArgument, match="task.source_path: '/no/such/folder' is not a folder"):
        fingerprint("digits:Digits", "/no/such/folder")


def test_a_fingerprint_needs_no_torch(tmp_path: Path) -> None:
    _write(tmp_path, 1)
    code = (
        "import sys; from hydro.tuner.task_loading import fingerprint; "
        f"print(fingerprint('mine_for_loading:Mine', {str(tmp_path)!r})); assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == fingerprint("mine_for_loading:Mine", str(tmp_path))
