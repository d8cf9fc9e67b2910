"""Between the messages of pruning rules and their values."""

from __future__ import annotations

from typing import assert_never, get_args

from hydro.api.coordinator.v1 import study_pb2
from hydro.coordinator.pruning.validation import TIMEABLE
from hydro.coordinator.pruning_rules import (
    AshaPruning,
    HyperbandPruning,
    LearningCurvePruning,
    MedianPruning,
    NoPruning,
    PatiencePruning,
    PatientRule,
    PercentilePruning,
    Pruning,
    SuccessiveHalvingPruning,
    ThresholdPruning,
    TimeableRule,
    TimedPruning,
)
from hydro.kit.errors import FieldViolation


def pruning_violations(message: study_pb2.Pruner) -> list[FieldViolation]:
    """What no value can hold of a rule."""
    if message.WhichOneof("rule") == "by_time":
        return _timed_violations(message.by_time.rule)
    wrapped = message.patience.rule
    if message.WhichOneof("rule") != "patience" or not message.patience.HasField("rule"):
        return []
    if isinstance(pruning_of(wrapped), get_args(PatientRule)):
        return []
    kind = wrapped.WhichOneof("rule")
    said = f"is {kind}: give median, percentile, threshold or learning_curve, or leave it out"
    return [FieldViolation("study.pruner.patience.rule", said)]


def _timed_violations(rule: study_pb2.Pruner) -> list[FieldViolation]:
    field, refused = "study.pruner.by_time.rule", rule
    if rule.WhichOneof("rule") == "patience" and rule.patience.HasField("rule"):
        field, refused = f"{field}.patience.rule", rule.patience.rule
        if refused.WhichOneof("rule") in ("median", "percentile", "threshold"):
            return []
    elif isinstance(pruning_of(rule), get_args(TimeableRule)):
        return []
    kind = refused.WhichOneof("rule") or "none"
    return [FieldViolation(field, f"is {kind}, which cannot go by time: {TIMEABLE}")]


def pruning_of(message: study_pb2.Pruner) -> Pruning:
    """The rule; one that `pruning_violations` refuses comes without the rule inside it."""
    match message.WhichOneof("rule"):
        case "asha":
            return AshaPruning(message.asha.min_steps, message.asha.eta)
        case "hyperband":
            return HyperbandPruning(message.hyperband.min_steps, message.hyperband.eta)
        case "successive_halving":
            halving = message.successive_halving
            return SuccessiveHalvingPruning(
                halving.min_steps, halving.eta, halving.min_early_stopping_rate, halving.bootstrap_count
            )
        case "patience":
            own = message.patience
            return PatiencePruning(_wrapped_of(own), own.patience, own.measurement_interval_steps, own.min_delta)
        case "by_time":
            timed = message.by_time
            rule = None if _timed_violations(timed.rule) else pruning_of(timed.rule)
            timeable = rule if isinstance(rule, get_args(TimeableRule)) else None
            return TimedPruning(timeable, timed.interval_seconds, timed.warmup_seconds)
        case _:
            return _patient_of(message) or NoPruning(message.none.measurement_interval_steps)


def _wrapped_of(message: study_pb2.PatiencePruner) -> PatientRule | None:
    return _patient_of(message.rule) if message.HasField("rule") else None


def _patient_of(message: study_pb2.Pruner) -> PatientRule | None:
    match message.WhichOneof("rule"):
        case "median":
            median = message.median
            return MedianPruning(median.measurement_interval_steps, median.warmup_steps, median.startup_trials)
        case "percentile":
            share = message.percentile
            return PercentilePruning(
                share.percentile, share.measurement_interval_steps, share.warmup_steps, share.startup_trials
            )
        case "threshold":
            bounds = message.threshold
            return ThresholdPruning(
                bounds.lower if bounds.HasField("lower") else None,
                bounds.upper if bounds.HasField("upper") else None,
                bounds.measurement_interval_steps,
                bounds.warmup_steps,
            )
        case "learning_curve":
            curve = message.learning_curve
            return LearningCurvePruning(
                curve.measurement_interval_steps, curve.warmup_steps, curve.startup_trials, curve.confidence
            )
        case _:
            return None


def pruner_message(pruning: Pruning) -> study_pb2.Pruner:
    """The message of a rule."""
    match pruning:
        case NoPruning(interval):
            return study_pb2.Pruner(none=study_pb2.NoPruner(measurement_interval_steps=interval))
        case AshaPruning(min_steps, eta):
            return study_pb2.Pruner(asha=study_pb2.AshaPruner(min_steps=min_steps, eta=eta))
        case HyperbandPruning(min_steps, eta):
            return study_pb2.Pruner(hyperband=study_pb2.HyperbandPruner(min_steps=min_steps, eta=eta))
        case SuccessiveHalvingPruning():
            halving = study_pb2.SuccessiveHalvingPruner(
                min_steps=pruning.min_steps,
                eta=pruning.eta,
                min_early_stopping_rate=pruning.min_early_stopping_rate,
                bootstrap_count=pruning.bootstrap_count,
            )
            return study_pb2.Pruner(successive_halving=halving)
        case PatiencePruning():
            patience = study_pb2.PatiencePruner(
                rule=None if pruning.rule is None else pruner_message(pruning.rule),
                patience=pruning.patience,
                min_delta=pruning.min_delta,
                measurement_interval_steps=pruning.measurement_interval_steps,
            )
            return study_pb2.Pruner(patience=patience)
        case TimedPruning():
            timed = study_pb2.TimedPruner(
                rule=None if pruning.rule is None else pruner_message(pruning.rule),
                interval_seconds=pruning.interval_seconds,
                warmup_seconds=pruning.warmup_seconds,
            )
            return study_pb2.Pruner(by_time=timed)
        case _:
            return _patient_message(pruning)


def _patient_message(pruning: PatientRule) -> study_pb2.Pruner:
    match pruning:
        case MedianPruning(interval, warmup, startup):
            median = study_pb2.MedianPruner(
                measurement_interval_steps=interval, warmup_steps=warmup, startup_trials=startup
            )
            return study_pb2.Pruner(median=median)
        case PercentilePruning(percentile, interval, warmup, startup):
            share = study_pb2.PercentilePruner(
                percentile=percentile,
                measurement_interval_steps=interval,
                warmup_steps=warmup,
                startup_trials=startup,
            )
            return study_pb2.Pruner(percentile=share)
        case ThresholdPruning(lower, upper, interval, warmup):
            bounds = study_pb2.ThresholdPruner(
                lower=lower, upper=upper, measurement_interval_steps=interval, warmup_steps=warmup
            )
            return study_pb2.Pruner(threshold=bounds)
        case LearningCurvePruning(interval, warmup, startup, confidence):
            curve = study_pb2.LearningCurvePruner(
                measurement_interval_steps=interval,
                warmup_steps=warmup,
                startup_trials=startup,
                confidence=confidence,
            )
            return study_pb2.Pruner(learning_curve=curve)
        case _:
            assert_never(pruning)
