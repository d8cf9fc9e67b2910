"""The build of one surrogate, step by step; runs in the child process, with the user's code."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from hydro.kit.artifacts import ArtifactStore
from hydro.kit.errors import HydroError
from hydro.tuner.building.measuring import Measuring
from hydro.tuner.building.profile_cache import ProfileCache
from hydro.tuner.building.rehearsal import Rehearsal, rehearse
from hydro.tuner.building.request import BuildRequest, BuildResult, BuiltArtifact
from hydro.tuner.building.task_failure import TaskFailed, attributed_to_task
from hydro.tuner.building.verifying import Verified, verify
from hydro.tuner.planning.compiling import bundle_steps
from hydro.tuner.planning.plan import Value
from hydro.tuner.planning.profile_key import profile_key
from hydro.tuner.planning.profiler import Measured, Profiler
from hydro.tuner.planning.role_tracing import find_roles
from hydro.tuner.shrinking.caveats import caveats
from hydro.tuner.shrinking.check_figures import CheckFigures
from hydro.tuner.shrinking.effects import find_effects, optimizer_facts, require_rules
from hydro.tuner.shrinking.report import ShrinkReport
from hydro.tuner.shrinking.shrink import ShrunkModel
from hydro.tuner.shrinking.surrogate import build_surrogate
from hydro.tuner.shrinking.transfer import Transfer, TransferKind, describe_transfers
from hydro.tuner.task import TrainingTask
from hydro.tuner.task_loading import fingerprint, load_task, rules_digest
from hydro.tuner.tracing import LossModule, NotTraceable, trace
from hydro.tuner.training.placed_task import PlacedTask

Tell = Callable[[BuildResult, float], None]


def build(request: BuildRequest, tell: Tell = lambda result, seconds: None) -> BuildResult:
    """Builds a surrogate, or tells why there is none.

    Args:
        request: What to build.
        tell: Is told, before a bundle is compiled, the result that holds should that not end in so many seconds.
    """
    try:
        return _build(request, tell)
    except (TaskFailed, HydroError) as error:
        return BuildResult(failure=str(error))


def _build(request: BuildRequest, tell: Tell) -> BuildResult:
    with attributed_to_task("being imported"):
        task = load_task(request.entry_point, request.source_path)
    placed = PlacedTask(task, torch.device("cpu"))
    hyperparameters = _complete(task, request.values)
    rehearsal = rehearse(placed, hyperparameters, request.objective_metric)
    with attributed_to_task("tried with other hyperparameters"):
        roles = find_roles(placed, hyperparameters, request.values, request.conditions)
        effects = find_effects(placed, rehearsal.model, hyperparameters, request.values, roles, request.conditions)
    shrinking = _shrink(placed, hyperparameters, request, rehearsal)
    transfers = describe_transfers(effects, shrinking.width, request.not_transferable, request.fidelities)
    result = BuildResult(
        fingerprint=fingerprint(request.entry_point, request.source_path),
        width=shrinking.width,
        depth=shrinking.depth,
        warnings=(*shrinking.warnings, *_unmarked(transfers, request)),
        parameters=shrinking.parameters or rehearsal.target_parameters,
        target_parameters=rehearsal.target_parameters,
        artifact=_store(request, shrinking.model),
        roles=roles,
        checks=shrinking.verified.figures if shrinking.verified else CheckFigures(),
        optimizer_family=shrinking.optimizer_family,
        effects=effects,
        transfers=transfers,
    )
    if shrinking.verified and shrinking.verified.failures and not request.accept_failed_checks:
        failed = shrinking.verified.refusal
        return replace(result, failure=failed, report="\n\n".join(shrinking.report))

    def with_profile(measured: Measured) -> BuildResult:
        report = "\n\n".join([*shrinking.report, *_described(transfers), str(measured.profile), measured.report])
        return replace(result, report=report, profile=measured.profile)

    measuring = _measuring(request, task, hyperparameters, shrinking)
    return with_profile(
        measuring.measured(
            request.max_lanes,
            fuse=shrinking.is_traceable,
            tell=lambda measured, seconds: tell(with_profile(measured), seconds),
        )
    )


def _complete(task: TrainingTask, values: Mapping[str, Sequence[Value]]) -> dict[str, Any]:
    """Gives the task's defaults, a first value where it has none, and every value that is fixed."""
    fixed = {name: first for name, (first, *others) in values.items() if not others}
    return {name: first for name, (first, *_) in values.items()} | dict(task.defaults) | fixed


@dataclass(frozen=True, slots=True)
class _Shrinking:
    """What became of the model."""

    width: float
    model: ShrunkModel | None = None
    warnings: tuple[str, ...] = ()
    report: tuple[str, ...] = ()
    verified: Verified | None = None
    is_traceable: bool = True
    optimizer_family: str = ""

    @property
    def depth(self) -> float:
        return self.model.solution.depth if self.model else 1.0

    @property
    def parameters(self) -> int:
        return self.model.solution.parameters if self.model else 0


def _shrink(
    task: TrainingTask, hyperparameters: Mapping[str, Any], request: BuildRequest, rehearsal: Rehearsal
) -> _Shrinking:
    width = request.width
    try:
        if width == 1:
            _require_traceable(task, hyperparameters)
            return _Shrinking(width=1.0, report=("The target itself is tuned: nothing is shrunk.",))
        untried = require_rules(task, rehearsal.model, hyperparameters, request.values)
        shrunk = build_surrogate(task, hyperparameters, width, depth=request.depth, seed=0)
        verified = verify(task, hyperparameters, shrunk, request)
    except NotTraceable as error:
        warning = f"{error}; it runs unshrunk and unfused{_offer(task, hyperparameters, width)}"
        return _Shrinking(width=1.0, warnings=(warning,), is_traceable=False)
    facts = optimizer_facts(rehearsal.optimizer)
    report = ShrinkReport(shrunk.solution, facts.type, facts.options)
    known = caveats(task, shrunk.parametrization, report.optimizer_type, facts.options, request.max_steps)
    warnings = tuple(dict.fromkeys([*report.warnings, *verified.warnings, *known, *untried]))
    texts = (str(report), *verified.report)
    is_traceable = not shrunk.solution.untraced
    return _Shrinking(width, shrunk, warnings, texts, verified, is_traceable, facts.family)


def _offer(task: TrainingTask, hyperparameters: Mapping[str, Any], width: float) -> str:
    """What would have a model without a graph shrunk all the same."""
    if width == 1 or task.model_at_width(hyperparameters, width) is not None:
        return ""
    return "; a task with model_at_width(hp, width), such as `config_factory` gives, would have it shrunk"


def _unmarked(transfers: Sequence[Transfer], request: BuildRequest) -> list[str]:
    """What is searched on the surrogate though the target does not get it."""
    marked = {*request.not_transferable, *request.fidelities}
    return [
        f"{each.hyperparameter} does not transfer: {each.explanation}; mark it `transfer: false` to keep it out of the"
        " surrogate's search"
        for each in transfers
        if each.kind is TransferKind.NOT_TRANSFERABLE and each.hyperparameter not in marked
    ]


def _described(transfers: Sequence[Transfer]) -> list[str]:
    rows = (
        f"  {each.hyperparameter}: {each.kind.value.lower().replace('_', ' ')}; {each.explanation}"
        for each in transfers
    )
    return ["\n".join(["hyperparameters on the target:", *rows])] if transfers else []


def _require_traceable(task: TrainingTask, hyperparameters: Mapping[str, Any]) -> None:
    batch = next(iter(task.train_batches(hyperparameters, 0, 0)))
    trace(LossModule(task, task.model(hyperparameters), hyperparameters), (batch,), train=True)


def _measuring(
    request: BuildRequest, task: TrainingTask, hyperparameters: Mapping[str, Any], shrinking: _Shrinking
) -> Measuring:
    solution = shrinking.model.solution if shrinking.model else None
    placed, steps = PlacedTask(task, torch.device("cpu")), bundle_steps(request.max_steps)
    return Measuring(
        Profiler(task, hyperparameters, shrinking.width, solution),
        ProfileCache(request.artifact_uri),
        _profile_key(placed, hyperparameters, shrinking, request.max_lanes, steps),
        steps,
    )


def _profile_key(
    task: TrainingTask, hyperparameters: Mapping[str, Any], shrinking: _Shrinking, max_lanes: int, steps: int
) -> str | None:
    """What the profile holds for; None: nobody can tell without a graph.

    A surrogate's profile holds the target's step as well, so it goes by the target's graph, width and depth too.
    """
    if not shrinking.is_traceable:
        return None
    batch = next(iter(task.train_batches(hyperparameters, 0, 0)))
    target = task.model(hyperparameters)
    traced = trace(LossModule(task, target, hyperparameters), (batch,), train=True)
    optimizer = task.optimizer(target, hyperparameters)
    groups = [sorted(name for name, value in group.items() if value) for group in optimizer.param_groups]
    size = f"width {shrinking.width} depth {shrinking.depth}"
    how = f"{type(optimizer).__qualname__} {groups} {task.gradient_clip_norm} {size}"
    return profile_key(traced, how, max_lanes, steps, torch.device("cpu"), rules_digest())


def _store(request: BuildRequest, shrunk: ShrunkModel | None) -> BuiltArtifact | None:
    if shrunk is None:
        return None
    data = shrunk.solution.to_json().encode()
    stored = ArtifactStore(request.artifact_uri).write(request.artifact_path, data)
    return BuiltArtifact(stored.uri, stored.digest, stored.size_bytes)
