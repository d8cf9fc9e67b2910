"""Where a study's task is: its entry point, and the folder its module is imported from."""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from pathlib import Path

from hydro.kit.errors import FieldViolation, InvalidArgument


def entry_point_of(task: str | type) -> str:
    """The task as "module:Class", from that or from the class itself.

    Raises:
        InvalidArgument: the class was not defined at the top level of a module.
    """
    if isinstance(task, str):
        return task
    if "<locals>" in task.__qualname__:
        raise InvalidArgument.of(
            [FieldViolation("study.task", f"{task.__qualname__} is defined in a function; move it out")]
        )
    module = Path(_script()).stem if task.__module__ == "__main__" else task.__module__
    return f"{module}:{task.__qualname__}"


def source_path_of(entry_point: str) -> str:
    """The folder to put on the import path of the tuner and the workers, or "" for an installed module.

    The module is looked for but not imported. One that is not found here may be known to the services: they judge.
    """
    module = entry_point.partition(":")[0].partition(".")[0]
    spec = PathFinder.find_spec(module, [*sys.path, str(Path.cwd())]) if module else None
    if spec is None or spec.origin is None:
        return ""
    origin = Path(spec.origin).resolve()
    folder = origin.parent.parent if origin.name == "__init__.py" else origin.parent
    return "" if _is_installed(folder) else str(folder)


def _is_installed(folder: Path) -> bool:
    return bool({"site-packages", "dist-packages"} & set(folder.parts)) or folder == Path(sys.prefix)


def _script() -> str:
    return getattr(sys.modules["__main__"], "__file__", None) or "__main__"
