import pytest

from hydro.client.task_source import entry_point_of, source_path_of
from hydro.kit.errors import InvalidArgument


class Task:
    pass


def test_a_class_is_named_by_its_module():
    assert entry_point_of(Task) == f"{__name__}:Task"


def test_a_class_inside_a_function_is_refused():
    class Local:
        pass

    with pytest.raises(InvalidArgument, match="defined in a function"):
        entry_point_of(Local)


def test_the_source_path_is_the_folder_the_module_lies_in(tmp_path, monkeypatch):
    (tmp_path / "my_task_module.py").write_text("raise RuntimeError('must not be imported')")
    monkeypatch.syspath_prepend(tmp_path)
    assert source_path_of("my_task_module:Task") == str(tmp_path)


def test_the_source_path_of_a_package_is_the_folder_above_it(tmp_path, monkeypatch):
    (tmp_path / "my_task_package").mkdir()
    (tmp_path / "my_task_package" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    assert source_path_of("my_task_package.digits:Task") == str(tmp_path)


@pytest.mark.parametrize("entry_point", ["numpy:Task", "no_such_module_anywhere:Task", ""])
def test_an_installed_or_unknown_module_has_no_source_path(entry_point):
    assert source_path_of(entry_point) == ""
