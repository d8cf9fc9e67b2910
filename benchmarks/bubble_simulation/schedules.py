"""Who computes what, in which order: 1F1B, interleaved 1F1B, and the zero-bubble schedule ZB-H1."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from hydro.squeezer.pipeline import OperationKind, one_forward_one_backward


class Kind(Enum):
    """What is computed for a microbatch; a backward is whole, or in two halves."""

    FORWARD = "F"
    BACKWARD = "B"
    INPUT_GRADIENT = "I"
    WEIGHT_GRADIENT = "W"


@dataclass(frozen=True, slots=True)
class Task:
    """One computation. `place` counts the model's parts from its first layers: chunk * stages + stage."""

    kind: Kind
    microbatch: int
    place: int


@dataclass(frozen=True, slots=True)
class Schedule:
    """The tasks of one step, by stage, each in its order."""

    name: str
    stages: int
    microbatches: int
    chunks: int
    orders: tuple[tuple[Task, ...], ...]

    @property
    def places(self) -> int:
        """Parts of the model."""
        return self.stages * self.chunks

    def needs(self, task: Task) -> Iterator[Task]:
        """Gives what must be done before, on any stage."""
        match task.kind:
            case Kind.FORWARD:
                if task.place > 0:
                    yield Task(Kind.FORWARD, task.microbatch, task.place - 1)
            case Kind.WEIGHT_GRADIENT:
                yield Task(Kind.INPUT_GRADIENT, task.microbatch, task.place)
            case _:
                yield Task(Kind.FORWARD, task.microbatch, task.place)
                if task.place < self.places - 1:
                    yield Task(task.kind, task.microbatch, task.place + 1)


def one_forward_one_backward_schedule(stages: int, microbatches: int) -> Schedule:
    """PipeDream-Flush, as `hydro.squeezer.pipeline` has it."""
    kinds = {OperationKind.FORWARD: Kind.FORWARD, OperationKind.BACKWARD: Kind.BACKWARD}
    orders = tuple(
        tuple(
            Task(kinds[each.kind], each.microbatch, stage)
            for each in one_forward_one_backward(stages, stage, microbatches)
        )
        for stage in range(stages)
    )
    return Schedule("1f1b", stages, microbatches, 1, orders)


def interleaved_schedule(stages: int, microbatches: int, chunks: int = 2) -> Schedule:
    """Each stage has several chunks of the model.

    Raises:
        ValueError: the microbatches are no multiple of the stages.

    Source: Narayanan et al. 2021, section 2.2; the order of Megatron-LM's interleaved schedule.
    """
    if microbatches % stages:
        raise ValueError(f"microbatches: {microbatches} is no multiple of {stages} stages: the schedule needs one")
    orders = tuple(_interleaved_order(stages, stage, microbatches, chunks) for stage in range(stages))
    return Schedule(f"interleaved-{chunks}", stages, microbatches, chunks, orders)


def _interleaved_order(stages: int, stage: int, microbatches: int, chunks: int) -> tuple[Task, ...]:
    total, group = microbatches * chunks, stages * chunks

    def task(kind: Kind, number: int) -> Task:
        chunk = number % group // stages
        if kind is Kind.BACKWARD:
            chunk = chunks - 1 - chunk
        return Task(kind, number // group * stages + number % stages, chunk * stages + stage)

    ahead = min(total, (stages - stage - 1) * 2 + (chunks - 1) * stages)
    order = [task(Kind.FORWARD, number) for number in range(ahead)]
    for number in range(total):
        if ahead + number < total:
            order.append(task(Kind.FORWARD, ahead + number))
        order.append(task(Kind.BACKWARD, number))
    return tuple(order)


def zero_bubble_schedule(stages: int, microbatches: int) -> Schedule:
    """Backwards in two halves: what others wait for goes first, weight gradients fill the waits.

    No stage holds more activations than under 1F1B (ZB-H1). The order is found by letting each stage take the best
    task that is ready, with all three kinds equally long.

    Source: Qi et al. 2024, "Zero Bubble Pipeline Parallelism", sections 2 and 3.
    """
    orders: list[list[Task]] = [[] for _ in range(stages)]
    ends: dict[Task, int] = {}
    schedule = Schedule("zero-bubble", stages, microbatches, 1, ())
    time = 0
    while any(len(order) < 3 * microbatches for order in orders):
        chosen = [_best_task(schedule, orders[stage], stage, ends, time) for stage in range(stages)]
        for stage, task in enumerate(chosen):
            if task is not None:
                orders[stage].append(task)
                ends[task] = time + 1
        time += 1
    return Schedule("zero-bubble", stages, microbatches, 1, tuple(map(tuple, orders)))


def _best_task(
    schedule: Schedule, order: Sequence[Task], stage: int, ends: Mapping[Task, int], time: int
) -> Task | None:
    done = {kind: sum(task.kind is kind for task in order) for kind in Kind}
    in_flight = done[Kind.FORWARD] - done[Kind.INPUT_GRADIENT]
    for kind in (Kind.INPUT_GRADIENT, Kind.FORWARD, Kind.WEIGHT_GRADIENT):
        task = Task(kind, done[kind], stage)
        is_full = kind is Kind.FORWARD and in_flight >= schedule.stages - stage
        is_left = done[kind] < schedule.microbatches and not is_full
        if is_left and all(ends.get(need, time + 1) <= time for need in schedule.needs(task)):
            return task
    return None


SCHEDULES = {
    "1f1b": one_forward_one_backward_schedule,
    "interleaved-2": interleaved_schedule,
    "zero-bubble": zero_bubble_schedule,
}
