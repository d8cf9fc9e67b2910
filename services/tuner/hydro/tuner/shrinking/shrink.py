"""Shrinks a model: the same architecture with fewer channels, whose best hyperparameters are the target's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.utils import _pytree as pytree

from hydro.kit.errors import FieldViolation, InvalidArgument
from hydro.tuner.shrinking.by_shapes import narrow_model, solve_by_shapes
from hydro.tuner.shrinking.classification import Classified, TensorClass, classify
from hydro.tuner.shrinking.depth import Stack, are_of, cut, find_stacks
from hydro.tuner.shrinking.dimensions import Dim, Dimensions
from hydro.tuner.shrinking.factory import Factory, FactoryMismatch, narrow_shapes
from hydro.tuner.shrinking.given_sizes import Shapes, SizesDisagree, fit_sizes
from hydro.tuner.shrinking.initial_values import Distribution, measure, resampled
from hydro.tuner.shrinking.parametrization import Parametrization
from hydro.tuner.shrinking.programs import Program, Programs, build_program
from hydro.tuner.shrinking.propagation import Propagation, propagate
from hydro.tuner.shrinking.report import ShrinkReport
from hydro.tuner.shrinking.results import results
from hydro.tuner.shrinking.rule_table import MUP
from hydro.tuner.shrinking.shape_classes import require_agreement
from hydro.tuner.shrinking.shrunk_module import ShrunkModule
from hydro.tuner.shrinking.sizes import Sizes, solve
from hydro.tuner.shrinking.solution import Solution, TensorSolution
from hydro.tuner.shrinking.templates import Template
from hydro.tuner.tracing import NotTraceable, Trace, tensor_aliases


class PretrainedModel(InvalidArgument):
    """A model whose values are to be fine-tuned has no surrogate."""

    default_reason = "PRETRAINED_MODEL"

    def __init__(self) -> None:
        super().__init__(
            "the model is declared pretrained: a narrower one would have none of what it has learned, so that its best"
            " hyperparameters say nothing of fine-tuning; tune the target itself: leave the surrogate out, or width=1"
        )


@dataclass(frozen=True)
class ShrunkModel:
    """A surrogate: its module, and how hyperparameters scale between it and the target."""

    model: nn.Module
    """A `ShrunkModule`; where the target has no graph, the factory's own."""
    solution: Solution
    kept: Mapping[str, Tensor]
    """The target's own values of the tensors that are not drawn, at the surrogate's shapes."""

    @property
    def parametrization(self) -> Parametrization:
        """The factors of every parameter."""
        return self.solution.parametrization

    @property
    def report(self) -> ShrinkReport:
        """What was done, as a table."""
        return ShrinkReport(self.solution)

    def initialize(self, seed: int) -> None:
        """Fresh values, a function of the seed alone: distributed as the target's own, scaled by muP's rule."""
        generator = torch.Generator().manual_seed(seed)
        tensors = dict([*self.model.named_parameters(), *self.model.named_buffers()])
        with torch.no_grad():
            for each in self.solution.tensors:
                tensors[each.name].copy_(self._values(each, tensors[each.name], generator))

    def _values(self, each: TensorSolution, like: Tensor, generator: torch.Generator) -> Tensor:
        if each.name in self.kept:
            return self.kept[each.name]
        return each.initial.draw(like, self._initial_std_factor(each), generator)

    def _initial_std_factor(self, each: TensorSolution) -> float:
        return self.parametrization.initial_std_factor(each.name) if each.is_parameter else 1.0


def shrink(
    model: nn.Module | Factory,
    example_inputs: Sequence[Any],
    width: float = 1 / 8,
    *,
    depth: float = 1.0,
    example_keywords: Mapping[str, Any] | None = None,
    multiplied_readout: bool = False,
    feature_learning: float = MUP,
    pretrained: bool = False,
    solution: Solution | None = None,
) -> ShrunkModel:
    """Shrinks a model to a fraction of its width; the model itself stays as it is.

    Args:
        model: The target, with its initial values: fresh ones are drawn like them. Or a function that gives the model
            at a width in (0, 1], whose shapes the surrogate then has: exact, where there is one. One whose models
            do not export gives the surrogate itself, classified by shapes (see `by_shapes`).
        example_inputs: What the model is called with.
        width: Surrogate over target, in (0, 1].
        depth: The surrogate's layers over the target's, in (0, 1]; below 1 for stacks of pre-LN residual layers alone,
            whose branches are then multiplied (see `depth`).
        example_keywords: Further inputs, by name.
        multiplied_readout: The readout as in TP-V's Table 8, behind a constant multiplier, which keeps a bound on the
            gradient's norm meaningful across widths; by default as in Table 3, which changes nothing in the forward
            pass.
        feature_learning: The parametrization's p in [0, 1] (see `rule_table`): muP, or towards the neural tangent's.
        pretrained: The model's values are to be fine-tuned: there is no surrogate of these.
        solution: An earlier one of the same model and width, used if it fits: the model may then be on the meta device.

    Raises:
        InvalidArgument: width or depth is not in (0, 1], or p not in [0, 1].
        NoResidualStack: a depth below 1, and the model has no layers that can be left out.
        PretrainedModel: the model is declared pretrained.
        FactoryMismatch: what the function gives at the width is not the target, narrower.
        ClassesDisagree: a parameter's shape in its module tells another fan-in than its use in the graph.
        NotTraceable: the model cannot be exported, with the user's line, and there is no function of the width, or one
            by whose shapes nobody can tell a parameter's class.
        WidthTooSmall: the widest dimension would have no channel left.
    """
    _check(width, depth, feature_learning)
    if pretrained and (width < 1 or depth < 1):
        raise PretrainedModel()
    make, model = (None, model) if isinstance(model, nn.Module) else (model, model(1.0))
    keywords = dict(example_keywords or {})
    if solution is not None and solution.untraced and make is None:
        solution = None
    if solution is not None and solution.depth == depth and are_of(solution.stacks, model):
        stacks = solution.stacks
    else:
        stacks = _stacks(model, example_inputs, keywords, depth)
    model = cut(model, stacks)
    tensors = dict([*model.named_parameters(), *model.named_buffers()])
    template, program = Template(model), None
    if solution is None or not solution.fits(
        model,
        width,
        depth=depth,
        stacks=stacks,
        multiplied_readout=multiplied_readout,
        feature_learning=feature_learning,
    ):
        unsolved = Solution(
            width, multiplied_readout, (), feature_learning=feature_learning, depth=depth, stacks=stacks
        )
        try:
            traced = template.trace(example_inputs, keywords, train=True, like=tensors)
        except NotTraceable as error:
            if make is None:
                raise
            solution = solve_by_shapes(make, model, unsolved, str(error))
        else:
            shapes = narrow_shapes(lambda asked: cut(make(asked), stacks), model, width) if make is not None else None
            solution, program = _by_graph(traced, model, unsolved, shapes)
    if solution.untraced and make is not None:
        return _fresh(ShrunkModel(*narrow_model(make, model, solution)))
    programs = Programs(template, solution)
    shrunk = ShrunkModel(_empty_module(programs, solution, model), solution, _kept(solution, tensors))
    if program is not None:
        programs.add(shrunk.model, tuple(example_inputs), keywords, program)
    return _fresh(shrunk)


def _by_graph(traced: Trace, model: nn.Module, unsolved: Solution, shapes: Shapes | None) -> tuple[Solution, Program]:
    found = propagate(traced)
    solution = _solve(found, model, unsolved, shapes)
    program = build_program(found, solution)
    _prove(program, found, solution)
    return solution, program


def _fresh(shrunk: ShrunkModel) -> ShrunkModel:
    shrunk.initialize(seed=0)
    return shrunk


def _stacks(
    model: nn.Module, example_inputs: Sequence[Any], keywords: Mapping[str, Any], depth: float
) -> tuple[Stack, ...]:
    if depth == 1:
        return ()
    tensors = dict([*model.named_parameters(), *model.named_buffers()])
    return find_stacks(model, Template(model).trace(example_inputs, keywords, train=True, like=tensors), depth)


def _check(width: float, depth: float, feature_learning: float) -> None:
    violations = [
        FieldViolation(name, f"{ratio} is not in (0, 1]: give the surrogate's over the target's")
        for name, ratio in (("width", width), ("depth", depth))
        if not 0 < ratio <= 1
    ]
    if not 0 <= feature_learning <= 1:
        violations.append(FieldViolation("feature_learning", f"{feature_learning} is not in [0, 1]: 1 is muP"))
    if violations:
        raise InvalidArgument.of(violations)


def _solve(found: Propagation, model: nn.Module, unsolved: Solution, shapes: Shapes | None) -> Solution:
    width = unsolved.width
    sizes = solve(found.dimensions, found.parameters, width) if shapes is None else _fitted(found, shapes)
    aliases = tensor_aliases(model)
    parameters, buffers = dict(model.named_parameters()), dict(model.named_buffers())
    solved = []
    for name, values in (parameters | buffers).items():
        dims = found.tensors.get(name) or tuple(
            found.dimensions.new(size, "not used in the model's computation") for size in values.shape
        )
        solved.append(
            TensorSolution(
                name=name,
                is_parameter=name in parameters,
                target_shape=tuple(values.shape),
                shape=tuple(sizes.of(dim) for dim in dims) if shapes is None else shapes[name],
                classified=_class(found, sizes, name, name in parameters, unsolved.multiplied_readout),
                initial=measure(values, is_parameter=name in parameters),
                kept=tuple(_why_kept(found.dimensions, sizes, dim, width) for dim in dims),
                aliases=tuple(other for other, first in aliases.items() if first == name and other != name),
            )
        )
    require_agreement(found, sizes, model, solved)
    return replace(unsolved, tensors=tuple(solved), unknown_ops=tuple(str(each) for each in found.blocking))


def _fitted(found: Propagation, shapes: Shapes) -> Sizes:
    try:
        return fit_sizes(found.dimensions, found.tensors, shapes)
    except SizesDisagree as disagreement:
        raise FactoryMismatch(f"the factory's model and the target's graph disagree: {disagreement}") from disagreement


def _why_kept(dimensions: Dimensions, sizes: Sizes, dim: Dim, width: float) -> str:
    if width == 1 or sizes.of(dim) != dimensions.size(dim) or dimensions.size(dim) == 1:
        return ""
    return "; ".join(dimensions.pins(dim)) or "what it stands beside shrinks in its place, or it is narrow already"


def _class(found: Propagation, sizes: Sizes, name: str, is_parameter: bool, multiplied_readout: bool) -> Classified:
    if not is_parameter:
        return Classified(TensorClass.BUFFER, 1.0, 1.0)
    if name not in found.tensors:
        return Classified(TensorClass.FIXED, 1.0, 1.0)
    return classify(found, sizes, name, multiplied_readout=multiplied_readout)


def _empty_module(programs: Programs, solution: Solution, model: nn.Module) -> ShrunkModule:
    devices = {name: each.device for name, each in [*model.named_parameters(), *model.named_buffers()]}

    def empty(name: str, tensor: Tensor) -> Tensor:
        device = "cpu" if devices[name].type == "meta" else devices[name]
        return torch.empty(solution.by_name[name].shape, dtype=tensor.dtype, device=device)

    return ShrunkModule(programs, empty)


def _kept(solution: Solution, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        each.name: resampled(tensors[each.name].detach().cpu(), each.shape)
        for each in solution.tensors
        if each.initial.distribution is Distribution.KEPT
    }


def _prove(program: Program, found: Propagation, solution: Solution) -> None:
    """Runs the surrogate's graph on shapes alone: it must run, and give what the target gives."""
    with FakeTensorMode(allow_non_fake_inputs=True, shape_env=ShapeEnv()):
        inputs = [_fake_input(node, found, solution) for node in found.trace.graph.find_nodes(op="placeholder")]
        try:
            outputs = torch.fx.Interpreter(program.graph_module).run(*inputs)
        except Exception as error:
            raise NotTraceable(f"the shrunk model does not run: {error}") from error
    expected = [each.meta["val"].shape for each in results(found.trace.graph)]
    given = dict(
        zip(pytree.tree_leaves(found.trace.graph.output_node().args), pytree.tree_leaves(outputs), strict=True)
    )
    shapes = [given[each].shape for each in results(found.trace.graph)]
    if shapes != expected:
        raise NotTraceable(f"the shrunk model gives {shapes} where the target gives {expected}")


def _fake_input(node: torch.fx.Node, found: Propagation, solution: Solution) -> Any:
    value = node.meta.get("val")
    if not isinstance(value, Tensor):
        return value
    traced = found.trace
    name = traced.parameters.get(node.name) or traced.buffers.get(node.name)
    shape = value.shape if name is None else solution.by_name[traced.aliases.get(name, name)].shape
    return torch.empty(shape, dtype=value.dtype, device=value.device)
