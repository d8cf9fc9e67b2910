"""Between the contract's objectives and constraints and the SDK's values."""

from __future__ import annotations

import math

from hydro.api.type.v1 import metric_pb2
from hydro.client.objectives import Constraint, Goal, Objective

_GOALS = {Goal.MINIMIZE: metric_pb2.GOAL_MINIMIZE, Goal.MAXIMIZE: metric_pb2.GOAL_MAXIMIZE}


def objective_message(objective: Objective) -> metric_pb2.Objective:
    """The message of an objective."""
    return metric_pb2.Objective(metric=objective.metric, goal=_GOALS[objective.goal])


def objective_value(message: metric_pb2.Objective) -> Objective:
    """The objective of a message."""
    maximizes = message.goal == metric_pb2.GOAL_MAXIMIZE
    return Objective(message.metric, Goal.MAXIMIZE if maximizes else Goal.MINIMIZE)


def constraint_message(constraint: Constraint) -> metric_pb2.Constraint:
    """The message of a constraint. Infinitely far bounds are not set; NaN is for the service to refuse."""
    message = metric_pb2.Constraint(metric=constraint.metric)
    if constraint.min != -math.inf:
        message.min = constraint.min
    if constraint.max != math.inf:
        message.max = constraint.max
    return message


def constraint_value(message: metric_pb2.Constraint) -> Constraint:
    """The constraint of a message."""
    return Constraint(
        message.metric,
        message.min if message.HasField("min") else -math.inf,
        message.max if message.HasField("max") else math.inf,
    )
