"""Between the contract's messages of pruners and the SDK's values."""

from __future__ import annotations

from typing import assert_never, get_args

from hydro.api.coordinator.v1 import study_pb2
from hydro.client.pruning import (
    Asha,
    ByTime,
    Hyperband,
    LearningCurve,
    Median,
    NoPruning,
    Patience,
    PatientRule,
    Percentile,
    Pruner,
    SuccessiveHalving,
    Threshold,
    TimeableRule,
)


def pruner_message(pruner: Pruner) -> study_pb2.Pruner:
    """What CreateStudy takes; `max_steps` is the study's."""
    match pruner:
        case Asha():
            rungs = study_pb2.AshaPruner(min_steps=pruner.min_steps, eta=pruner.eta)
            return study_pb2.Pruner(asha=rungs)
        case Hyperband():
            brackets = study_pb2.HyperbandPruner(min_steps=pruner.min_steps, eta=pruner.eta)
            return study_pb2.Pruner(hyperband=brackets)
        case SuccessiveHalving():
            halving = study_pb2.SuccessiveHalvingPruner(
                min_steps=pruner.min_steps,
                eta=pruner.eta,
                min_early_stopping_rate=pruner.min_early_stopping_rate,
                bootstrap_count=pruner.bootstrap_count,
            )
            return study_pb2.Pruner(successive_halving=halving)
        case Patience():
            patience = study_pb2.PatiencePruner(
                rule=None if pruner.rule is None else pruner_message(pruner.rule),
                patience=pruner.patience,
                min_delta=pruner.min_delta,
                measurement_interval_steps=pruner.interval_steps,
            )
            return study_pb2.Pruner(patience=patience)
        case ByTime():
            timed = study_pb2.TimedPruner(
                rule=pruner_message(pruner.rule),
                interval_seconds=pruner.interval_seconds,
                warmup_seconds=pruner.warmup_seconds,
            )
            return study_pb2.Pruner(by_time=timed)
        case NoPruning():
            return study_pb2.Pruner(none=study_pb2.NoPruner(measurement_interval_steps=pruner.interval_steps))
        case _:
            return _patient_message(pruner)


def _patient_message(rule: PatientRule) -> study_pb2.Pruner:
    match rule:
        case Median():
            median = study_pb2.MedianPruner(
                measurement_interval_steps=rule.interval_steps,
                warmup_steps=rule.warmup_steps,
                startup_trials=rule.startup_trials,
            )
            return study_pb2.Pruner(median=median)
        case Percentile():
            share = study_pb2.PercentilePruner(
                percentile=rule.percentile,
                measurement_interval_steps=rule.interval_steps,
                warmup_steps=rule.warmup_steps,
                startup_trials=rule.startup_trials,
            )
            return study_pb2.Pruner(percentile=share)
        case Threshold():
            bounds = study_pb2.ThresholdPruner(
                lower=rule.lower,
                upper=rule.upper,
                measurement_interval_steps=rule.interval_steps,
                warmup_steps=rule.warmup_steps,
            )
            return study_pb2.Pruner(threshold=bounds)
        case LearningCurve():
            curve = study_pb2.LearningCurvePruner(
                measurement_interval_steps=rule.interval_steps,
                warmup_steps=rule.warmup_steps,
                startup_trials=rule.startup_trials,
                confidence=rule.confidence,
            )
            return study_pb2.Pruner(learning_curve=curve)
    assert_never(rule)


def pruner_of(message: study_pb2.Pruner, max_steps: int) -> Pruner:
    """The pruner of a study with these steps."""
    match message.WhichOneof("rule"):
        case "asha":
            return Asha(message.asha.min_steps, max_steps, message.asha.eta)
        case "hyperband":
            return Hyperband(message.hyperband.min_steps, max_steps, message.hyperband.eta)
        case "successive_halving":
            halving = message.successive_halving
            return SuccessiveHalving(
                halving.min_steps, max_steps, halving.eta, halving.min_early_stopping_rate, halving.bootstrap_count
            )
        case "patience":
            own = message.patience
            rule = _patient_rule(own.rule, max_steps) if own.HasField("rule") else None
            return Patience(rule, own.patience, own.measurement_interval_steps, max_steps, own.min_delta)
        case "by_time":
            timed = message.by_time
            inner = pruner_of(timed.rule, max_steps)
            # The coordinator refuses the others before it stores anything.
            assert isinstance(inner, get_args(TimeableRule))
            return ByTime(inner, timed.interval_seconds, timed.warmup_seconds)
    return _patient_rule(message, max_steps) or NoPruning(max_steps, message.none.measurement_interval_steps)


def _patient_rule(message: study_pb2.Pruner, max_steps: int) -> PatientRule | None:
    match message.WhichOneof("rule"):
        case "median":
            median = message.median
            return Median(median.measurement_interval_steps, max_steps, median.warmup_steps, median.startup_trials)
        case "percentile":
            share = message.percentile
            interval, warmup = share.measurement_interval_steps, share.warmup_steps
            return Percentile(share.percentile, interval, max_steps, warmup, share.startup_trials)
        case "threshold":
            bounds = message.threshold
            return Threshold(
                bounds.lower if bounds.HasField("lower") else None,
                bounds.upper if bounds.HasField("upper") else None,
                bounds.measurement_interval_steps,
                max_steps,
                bounds.warmup_steps,
            )
        case "learning_curve":
            curve = message.learning_curve
            interval, warmup = curve.measurement_interval_steps, curve.warmup_steps
            return LearningCurve(interval, max_steps, warmup, curve.startup_trials, curve.confidence)
    return None
