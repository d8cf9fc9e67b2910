"""Trials to bundles: which ones are trained together, how, and how far each bundle may grow."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from math import ceil

from hydro.tuner.planning.profile import Profile
from hydro.tuner.planning.role import Role
from hydro.tuner.planning.sizing import PlannedDevice, Sizing, choose_sizing, separate_sizing
from hydro.tuner.training.execution import Execution
from hydro.tuner.training.padding_limit import PADDING_KEEPS

Value = bool | int | float | str

SPLIT_KEEPS = 0.75
"""A bundle is split for an idle device while each part keeps this share of the whole one's throughput: then the two are
at least one and a half times as fast together. Below, splitting burns device time for little."""


@dataclass(frozen=True, slots=True)
class PlannedTrial:
    """A trial that waits for a bundle."""

    trial: str
    hyperparameters: Mapping[str, Value]
    steps: int = 0
    """Optimizer steps it has done."""


@dataclass(frozen=True, slots=True)
class PlannedBundle:
    """Trials to train together, and what that needs of a device when the bundle has grown to `max_lanes`."""

    trials: tuple[str, ...]
    execution: Execution
    max_lanes: int
    micro_lanes: int
    """Most lanes that run at once."""
    memory_bytes: int
    segment_seconds: float
    structure: Mapping[str, Value]
    """Values of the structural hyperparameters that the lanes share: only such trials may be inserted."""
    threads: int = 0
    """Of one op, as the profile was measured; 0: not known."""


@dataclass(slots=True)
class _Group:
    """Trials of one structure that have no bundle yet."""

    structure: Mapping[str, Value]
    trials: list[PlannedTrial]
    """Those with the most steps left first."""
    bundles: int = 1

    @property
    def share(self) -> int:
        """Lanes of each bundle when those that are left are spread evenly."""
        return ceil(len(self.trials) / self.bundles)

    def take(self, count: int) -> tuple[str, ...]:
        taken, self.trials = tuple(each.trial for each in self.trials[:count]), self.trials[count:]
        self.bundles = max(1, self.bundles - 1)
        return taken


@dataclass(frozen=True, slots=True)
class _Sizer:
    """Tells the kind of bundle that suits a device."""

    profile: Profile
    max_steps: int

    def fits(self, device: PlannedDevice) -> bool:
        return choose_sizing(self.profile, device) is not None

    def sizing(self, device: PlannedDevice, group: _Group) -> Sizing:
        """For the next bundle of a group; separate models where nothing fits."""
        steps = max(1, self.max_steps - group.trials[0].steps) if self.max_steps else 0
        chosen = choose_sizing(self.profile, device, at_first=group.share, steps=steps)
        return chosen or separate_sizing(self.profile)


def plan_bundles(
    profile: Profile,
    roles: Mapping[str, Role],
    trials: Sequence[PlannedTrial],
    devices: Sequence[PlannedDevice],
    max_steps: int = 0,
) -> list[PlannedBundle]:
    """Puts each trial into exactly one bundle.

    Batch lengths that may be padded are no structure, but trials whose lengths are far apart start in other bundles:
    their lanes would run as programs of their own anyway, and two devices can take two bundles. Lanes that come later
    may have any length.

    Lanes of one structure stay together up to the best fusion count of their device; a group is split further only for
    a device that would be idle, and while that pays. Bundles are sized for the devices in the order given, and round
    again when there are more bundles than devices. Trials that fit no device are planned as separate models.

    Args:
        profile: What a step costs.
        roles: What each hyperparameter changes; one that is not listed counts as structural.
        trials: In the order in which they should start.
        devices: The idle ones, exclusive ones first; none means that nothing limits a bundle.
        max_steps: Of the longest training: a bundle is compiled where those that are left to it pay for that. 0: not
            known, and as many as the profile was measured for.
    """
    sizer, given = _Sizer(profile, max_steps), devices or [PlannedDevice("devices/any")]
    fitting = [device for device in given if sizer.fits(device)] or given[:1]
    groups = _group_by_structure(roles, trials)
    _count_bundles(groups, sizer, fitting)
    return list(_cut(groups, sizer, fitting))


def _group_by_structure(roles: Mapping[str, Role], trials: Sequence[PlannedTrial]) -> list[_Group]:
    # Trials that have done the same steps are neighbours: lanes at one step share each batch.
    lengths = _close_lengths(roles, trials)
    groups: dict[object, _Group] = {}
    for trial in sorted(trials, key=lambda trial: trial.steps):
        structure = {
            name: value
            for name, value in sorted(trial.hyperparameters.items())
            if roles.get(name, Role.STRUCTURAL) is Role.STRUCTURAL
        }
        # With the type, because True == 1 == 1.0 and a model may tell them apart.
        key = tuple((name, type(value), value) for name, value in structure.items()), lengths[trial.trial]
        groups.setdefault(key, _Group(structure, [])).trials.append(trial)
    return list(groups.values())


def _close_lengths(roles: Mapping[str, Role], trials: Sequence[PlannedTrial]) -> dict[str, tuple[Value, ...]]:
    """For each trial the longest batch that it may be padded to, or what it has where that is no number."""
    padded = sorted(name for name, role in roles.items() if role is Role.PADDED)
    heads = {
        name: _heads({trial.hyperparameters[name] for trial in trials if name in trial.hyperparameters})
        for name in padded
    }
    return {
        trial.trial: tuple(heads[name][trial.hyperparameters[name]] for name in padded if name in trial.hyperparameters)
        for trial in trials
    }


def _heads(values: Collection[Value]) -> dict[Value, Value]:
    """By value, the largest one of those it shares programs with; each is at least `PADDING_KEEPS` of it."""
    heads: dict[Value, Value] = {value: value for value in values}
    head = 0.0
    for value in sorted((each for each in values if isinstance(each, int | float)), reverse=True):
        head = head if value >= PADDING_KEEPS * head and head > 0 else value
        heads[value] = head
    return heads


def _count_bundles(groups: list[_Group], sizer: _Sizer, devices: Sequence[PlannedDevice]) -> None:
    first = devices[0]
    for group in groups:
        group.bundles = ceil(len(group.trials) / sizer.sizing(first, group).lanes)
    for _ in range(len(devices) - sum(group.bundles for group in groups)):
        splitting = (group for group in groups if _split_pays(group, sizer.sizing(first, group)))
        widest = max(splitting, key=lambda group: group.share, default=None)
        if widest is None:
            break
        widest.bundles += 1


def _split_pays(group: _Group, sizing: Sizing) -> bool:
    smaller = ceil(len(group.trials) / (group.bundles + 1))
    return smaller < group.share and sizing.rate(smaller) >= SPLIT_KEEPS * sizing.rate(group.share)


def _cut(groups: list[_Group], sizer: _Sizer, devices: Sequence[PlannedDevice]) -> Iterator[PlannedBundle]:
    for device in cycle(devices):
        group = max(groups, key=lambda group: group.share, default=None)
        if group is None or not group.trials:
            return
        sizing = sizer.sizing(device, group)
        yield PlannedBundle(
            trials=group.take(min(group.share, sizing.lanes)),
            execution=sizing.execution,
            max_lanes=sizing.lanes,
            micro_lanes=sizing.micro_lanes,
            memory_bytes=sizing.memory_bytes,
            segment_seconds=sizing.segment_seconds,
            structure=group.structure,
            threads=sizer.profile.threads,
        )
