"""Finds, imports and identifies a user's task.

The fingerprint is what a worker and the tuner compare before they trust each other's work: the same source, the same
torch, the same rules. It is computed without importing anything, so a server can ask for it.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import sys
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from hydro.kit.errors import FieldViolation, InvalidArgument

if TYPE_CHECKING:
    from hydro.tuner.task import TrainingTask

_RULE_ROOMS = ("ops", "shrinking", "fusion")


def load_task(entry_point: str, source_path: str = "") -> TrainingTask:
    """Imports the task's module, runs its top level, and makes the task.

    A module that is imported already is imported again when its source is another: a process may train tasks of several
    studies, whose modules may have the same name, and files change.

    Args:
        entry_point: "module:Class".
        source_path: Folder that is put first on the import path; empty: the module is installed.

    Raises:
        InvalidArgument: There is no such module or class, or the class is no TrainingTask. What the module's own code
            raises is passed on.
    """
    from hydro.tuner.task import TrainingTask

    module_name, class_name = _split(entry_point)
    origin = _origin(module_name, source_path)
    _put_first(source_path)
    loaded = sys.modules.get(module_name)
    digest = hashlib.sha256(origin.read_bytes()).hexdigest()
    if loaded is not None and getattr(loaded, "__hydro_source__", None) != (str(origin), digest):
        del sys.modules[module_name]
        importlib.invalidate_caches()
    module = importlib.import_module(module_name)
    module.__dict__["__hydro_source__"] = (str(origin), digest)
    task_class = getattr(module, class_name, None)
    if not (inspect.isclass(task_class) and issubclass(task_class, TrainingTask)):
        raise _wrong("entry_point", f"{entry_point!r}: {origin} has no subclass of TrainingTask named {class_name!r}")
    task: TrainingTask = task_class()
    return task


def fingerprint(entry_point: str, source_path: str = "") -> str:
    """Gives "sha256:" and the digest of the task's source, torch's version and the rules' source.

    Raises:
        InvalidArgument: There is no such module.
    """
    module_name, _ = _split(entry_point)
    digest = hashlib.sha256(_origin(module_name, source_path).read_bytes())
    digest.update(version("torch").encode())
    digest.update(bytes.fromhex(rules_digest()))
    return f"sha256:{digest.hexdigest()}"


@cache
def rules_digest() -> str:
    """Gives the digest of the rules' source, in hexadecimal."""
    digest = hashlib.sha256()
    for room in _RULE_ROOMS:
        for path in sorted((Path(__file__).parent / room).glob("*.py")):
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def _split(entry_point: str) -> tuple[str, str]:
    module_name, colon, class_name = entry_point.partition(":")
    if not (colon and class_name.isidentifier() and all(part.isidentifier() for part in module_name.split("."))):
        raise _wrong("entry_point", f'{entry_point!r} is not of the form "module:Class"')
    return module_name, class_name


def _origin(module_name: str, source_path: str) -> Path:
    if source_path and not Path(source_path).is_dir():
        raise _wrong("source_path", f"{source_path!r} is not a folder on this machine")
    spec = _find(module_name, source_path)
    if spec is None or not spec.has_location or spec.origin is None:
        place = f"in {source_path!r} or " if source_path else ""
        raise _wrong("entry_point", f"there is no module {module_name!r} {place}among the installed ones")
    return Path(spec.origin)


def _find(module_name: str, source_path: str) -> ModuleSpec | None:
    # Not importlib.util.find_spec: that answers with whatever module of the name is imported already.
    importlib.invalidate_caches()
    locations: list[str] | None = [source_path, *sys.path] if source_path else list(sys.path)
    spec = None
    parts = module_name.split(".")
    for depth in range(1, len(parts) + 1):
        spec = PathFinder.find_spec(".".join(parts[:depth]), locations)
        if spec is None:
            return None
        locations = list(spec.submodule_search_locations or ())
    return spec


def _put_first(source_path: str) -> None:
    if source_path:
        sys.path[:] = [source_path, *(path for path in sys.path if path != source_path)]


def _wrong(field: str, description: str) -> InvalidArgument:
    return InvalidArgument.of([FieldViolation(f"task.{field}", description)])
