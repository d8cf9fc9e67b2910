"""Lets the first step of each pipeline engine attach the hook, once the engine's module is imported."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import wraps
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any, Final

STEPS: Final = {
    "deepspeed.runtime.pipe.engine": (("PipelineEngine", "train_batch"),),
    "torch.distributed.pipelining.schedules": (("PipelineScheduleSingle", "step"), ("PipelineScheduleMulti", "step")),
}
"""By module: the classes of engines, and the method that makes a step."""


def install() -> None:
    """Watches the imports of this process."""
    sys.meta_path.insert(0, _EngineFinder())


class _EngineFinder(MetaPathFinder):
    """Finds engines' modules as Python would, and changes them when they have been executed."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Gives the module's own spec with a loader that changes it."""
        if fullname not in STEPS:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return None
        _change_after(spec.loader, STEPS[fullname])
        return spec


def _change_after(loader: Loader, steps: Sequence[tuple[str, str]]) -> None:
    execute = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        execute(module)
        for class_name, method in steps:
            engine = getattr(module, class_name, None)
            if engine is not None and hasattr(engine, method):
                setattr(engine, method, _attaching(getattr(engine, method), method))

    loader.exec_module = exec_module  # type: ignore[method-assign]


def _attaching(step: Callable[..., Any], name: str) -> Callable[..., Any]:
    @wraps(step)
    def attach_and_step(engine: Any, *arguments: Any, **keywords: Any) -> Any:
        if _attach(engine):
            # What stands on the instance now.
            return getattr(engine, name)(*arguments, **keywords)
        return step(engine, *arguments, **keywords)

    return attach_and_step


def _attach(engine: Any) -> bool:
    """Attaches the hook, unless that was done or has failed before."""
    from hydro.kit.errors import HydroError
    from hydro.squeezer.hooks.attachment import ATTACHED, attach

    if ATTACHED in vars(engine):
        return False
    vars(engine)[ATTACHED] = True
    try:
        return attach(engine).is_active
    except (HydroError, OSError) as error:
        print(f"hydro bubbles: the run goes on without its hook: {error}", file=sys.stderr)  # noqa: T201
        return False
