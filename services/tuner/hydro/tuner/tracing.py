"""From a module to its exported ATen graph, or a diagnosis of why there is none.

The graph is the one of `torch.export` (non-strict) before any decomposition: one node per ATen call, in-place ones
included, with parameters and buffers lifted to placeholders.
"""

from __future__ import annotations

import sysconfig
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import wraps
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # an export's own first import, of a second: a worker has it before its bundle comes
from torch import Tensor, nn
from torch.export import ExportedProgram, ModuleCallSignature
from torch.export.graph_signature import InputKind
from torch.fx import Graph, Node
from torch.utils import _pytree as pytree

from hydro.kit.errors import FailedPrecondition
from hydro.tuner.export_failure import export_failure, quiet_exporter
from hydro.tuner.hidden_state import (
    attributes,
    changed,
    changed_constant,
    kept_tensors,
    random_states,
    state_that_matters,
)
from hydro.tuner.output_tree import OutputTree, open_output
from hydro.tuner.own_functions import recorded_functions
from hydro.tuner.simplifying import simplify
from hydro.tuner.task import Batch, Hyperparameters, TrainingTask

_NOT_USER_CODE = tuple(
    str(Path(folder).resolve())
    for folder in (Path(torch.__file__).parent, Path(__file__).parents[1], sysconfig.get_path("stdlib"))
)


class NotTraceable(FailedPrecondition):
    """The module cannot be exported: `location` is the user's line ("digits.py:12"), "" when it is not known."""

    default_reason = "NOT_TRACEABLE"

    def __init__(self, message: str, location: str = "") -> None:
        super().__init__(f"{message} (at {location})" if location else message)
        self.location = location


class LazilyTraced(nn.Module):
    """A module that builds its program at its first eager call with inputs of new shapes.

    `trace` makes such a call before it exports, since a program cannot be built in the middle of an export.
    """


class LossModule(nn.Module):
    """The task's loss with the model inside it: parameters are named `model.<name in the model>`."""

    def __init__(self, task: TrainingTask, model: nn.Module, hyperparameters: Hyperparameters) -> None:
        super().__init__()
        self.model = model
        self._task = task
        self._hyperparameters = hyperparameters

    def forward(self, batch: Batch) -> Tensor:
        """The loss of one batch, a scalar."""
        return self._task.loss(self.model, batch, self._hyperparameters)


class MetricsModule(LossModule):
    """The task's validation metrics with the model inside them, by name."""

    def forward(self, batch: Batch) -> dict[str, Tensor]:  # type: ignore[override]
        """`validation_loss` and the task's own metrics, each a scalar."""
        loss = self._task.loss(self.model, batch, self._hyperparameters)
        return {"validation_loss": loss, **self._task.metrics(self.model, batch, self._hyperparameters)}


@dataclass(frozen=True, slots=True)
class Trace:
    """An exported module: its graph, and what each placeholder stands for."""

    program: ExportedProgram
    train: bool
    parameters: Mapping[str, str]
    """Placeholder name to parameter name. Tied parameters have a placeholder each."""
    buffers: Mapping[str, str]
    """Placeholder name to buffer name."""
    constants: Mapping[str, Tensor]
    """Placeholder name to the tensor that the module holds without having registered it."""
    inputs: tuple[str, ...]
    """Placeholder names of the inputs, flattened, in order."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Every parameter and buffer name to the first name of the same tensor."""
    output: OutputTree | None = None
    """What the graph's output stands for, where pytree does not know it."""

    @property
    def graph(self) -> Graph:
        """The ATen graph."""
        graph: Graph = self.program.graph
        return graph

    @property
    def in_spec(self) -> Any:
        """The pytree of `(args, kwargs)`."""
        return self._signature.in_spec

    @property
    def _signature(self) -> ModuleCallSignature:
        # Not `call_spec`, which makes a class anew at each look: a tenth of a small model's step.
        signature: ModuleCallSignature | None = self.program.module_call_graph[0].signature
        if signature is None:
            raise RuntimeError("the exported program does not tell its call signature")
        return signature

    def rebuild(self, flat: Sequence[Any]) -> Any:
        """Gives the module's own output type, from what the graph gives or what stands for it."""
        if self.output is not None:
            return self.output.rebuild(flat)
        return pytree.tree_unflatten(flat, self._signature.out_spec)


def trace(
    module: nn.Module,
    example_inputs: Sequence[Any],
    *,
    train: bool,
    example_keywords: Mapping[str, Any] | None = None,
) -> Trace:
    """Exports a module in train or eval mode; its parameters, buffers, mode and the random state stay as they are.

    Raises:
        NotTraceable: with the user's line.
    """
    with _in_mode(module, train), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _prepare_lazy_modules(module, example_inputs, example_keywords or {})
        given = tuple(example_inputs), dict(example_keywords or {})
        try:
            with kept_tensors(module), recorded_functions().recording(), quiet_exporter(), _watched(module) as seen:
                program = torch.export.export(module, *given, strict=False)
            suspects = seen.suspects and state_that_matters(module, *given, seen.suspects)
        except Exception as error:  # noqa: BLE001 - the user's code and the exporter may raise anything
            raise NotTraceable(f"the model cannot be exported: {export_failure(error)}", _user_line(error)) from error
    _require_no_loss(module, seen, suspects)
    simplify(program.graph_module)
    signed = _signed(program, module, train)
    _require_fixed_constants(signed)
    return replace(signed, output=seen.output)


def prepare(module: nn.Module, example_inputs: Sequence[Any], *, train: bool) -> None:
    """Has the lazily traced modules inside build their programs for such inputs; nothing else of them changes.

    Raises:
        NotTraceable: with the user's line.
    """
    with _in_mode(module, train), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _prepare_lazy_modules(module, example_inputs, {})


def location(node: Node) -> str:
    """The user's line that a node comes from: "digits.py:12"; else its module: "module 3.first"; else ""."""
    frames = [
        line for line in str(node.meta.get("stack_trace") or "").splitlines() if line.lstrip().startswith("File ")
    ]
    for line in reversed(frames):
        path, number = line.split('"')[1], line.split(", line ")[1].split(",")[0]
        if _is_user_code(path):
            return f"{Path(path).name}:{number}"
    modules = [path for path, _ in dict(node.meta.get("nn_module_stack") or {}).values()]
    return f"module {modules[-1]}" if modules and modules[-1] else ""


def _signed(program: ExportedProgram, module: nn.Module, train: bool) -> Trace:
    parameters, buffers, constants, inputs = {}, {}, {}, []
    for each in program.graph_signature.input_specs:
        name = getattr(each.arg, "name", "")
        match each.kind:
            case InputKind.PARAMETER:
                parameters[name] = str(each.target)
            case InputKind.BUFFER:
                buffers[name] = str(each.target)
            case InputKind.USER_INPUT:
                inputs.append(name)
            case _:
                constants[name] = program.constants[str(each.target)]
    return Trace(program, train, parameters, buffers, constants, tuple(inputs), tensor_aliases(module))


def tensor_aliases(module: nn.Module) -> dict[str, str]:
    """Every parameter and buffer name to the first name of the same tensor."""
    first: dict[int, str] = {}
    named = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
    return {name: first.setdefault(id(tensor), name) for name, tensor in named}


@contextmanager
def _in_mode(module: nn.Module, train: bool) -> Iterator[None]:
    modes = [(each, each.training) for each in module.modules()]
    module.train(train)
    try:
        yield
    finally:
        for each, training in modes:
            each.training = training


@dataclass(slots=True)
class _Seen:
    """What a module's call left behind or gave while it was traced."""

    output: OutputTree | None = None
    """Where the output holds tensors in objects that the exporter does not know."""
    suspects: list[str] = field(default_factory=list)
    """Attributes that the call changed."""
    missed_function: str = ""
    drew: bool = False
    """Whether it drew other random numbers than torch's."""


@contextmanager
def _watched(module: nn.Module) -> Iterator[_Seen]:
    """Sees what a module's forward does, and has it give tensors alone where the exporter does not know its output."""
    forward, seen = module.forward, _Seen()

    @wraps(forward)
    def watched(*args: Any, **kwargs: Any) -> Any:
        before, draws = attributes(module), random_states()
        output = forward(*args, **kwargs)
        tensors, tree = open_output(output)
        seen.suspects = changed(before, attributes(module))
        seen.missed_function = recorded_functions().missed(tensors)
        seen.drew = random_states() != draws
        seen.output = tree if tree.has_objects else None
        return tensors if tree.has_objects else output

    own = vars(module).get("forward")
    module.forward = watched
    try:
        yield seen
    finally:
        del module.forward
        if own is not None:
            module.forward = own


def _require_no_loss(module: nn.Module, seen: _Seen, state: Sequence[str]) -> None:
    """Refuses what a trace would freeze or lose."""
    if seen.drew:
        raise NotTraceable(
            "the model draws from Python's or NumPy's random numbers, which a trace draws once: use torch's"
        )
    if seen.missed_function:
        name = seen.missed_function
        raise NotTraceable(f"a name bound to {name}.apply hides its backward from the trace: call {name}.apply itself")
    if state:
        owner = module.get_submodule(state[0].rpartition(".")[0])
        raise NotTraceable(
            f"{type(owner).__name__} keeps state from call to call in {', '.join(state)}, which a trace would freeze: "
            "register it as a buffer",
            _forward_line(owner),
        )


def _require_fixed_constants(traced: Trace) -> None:
    node = changed_constant(list(traced.graph.nodes), traced.constants)
    if node is not None:
        what = f"{node.target} changes a tensor that the model keeps from call to call and is no buffer: register it"
        raise NotTraceable(what, location(node))


def _forward_line(module: nn.Module) -> str:
    code = getattr(type(module).forward, "__code__", None)
    return f"{Path(code.co_filename).name}:{code.co_firstlineno}" if code and _is_user_code(code.co_filename) else ""


def _prepare_lazy_modules(module: nn.Module, inputs: Sequence[Any], keywords: Mapping[str, Any]) -> None:
    if not any(isinstance(each, LazilyTraced) for each in module.modules()):
        return
    # The call must leave no trace: batch norms update their buffers in train mode, dropout draws.
    buffers = [(buffer, buffer.clone()) for buffer in module.buffers()]
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        module(*inputs, **keywords)
        for buffer, before in buffers:
            buffer.copy_(before)


def _user_line(error: BaseException) -> str:
    found = ""
    seen: BaseException | None = error
    while seen is not None:
        for frame in traceback.extract_tb(seen.__traceback__):
            if _is_user_code(frame.filename):
                found = f"{Path(frame.filename).name}:{frame.lineno}"
        seen = seen.__cause__
    return found


def _is_user_code(path: str) -> bool:
    return not path.startswith("<") and not str(Path(path).resolve()).startswith(_NOT_USER_CODE)
