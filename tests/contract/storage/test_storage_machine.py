"""Any sequence of what the coordinator does leaves the stored state as a model of it says."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from itertools import count

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from hydro.coordinator.bundle import PlannedBundle
from hydro.coordinator.device import Device, DeviceKind
from hydro.coordinator.lease import EXPIRE_LEASE, RELEASE_LEASE, Lease
from hydro.coordinator.names import DeviceName, StudyName
from hydro.coordinator.pruning_rules import NoPruning
from hydro.coordinator.search_space import FloatDomain, Parameter, SearchSpace
from hydro.coordinator.storage.postgres_storage import PostgresStorage
from hydro.coordinator.storage.trial_values import Measured, NewTrial
from hydro.coordinator.study import Goal, Objective, Sampler, StudySpec, StudyState
from hydro.coordinator.trial import TRANSITIONS, Measurement, TrialKind, TrialState, Verdict
from hydro.kit.errors import FailedPrecondition

SPEC = StudySpec(
    None, SearchSpace((Parameter("lr", FloatDomain(0, 1)),)), Objective("loss", Goal.MINIMIZE), Sampler.RANDOM,
    NoPruning(), 8, 1.0, 9, 9, 0,
)  # fmt: skip
DEVICES = [DeviceName(f"devices/{number}") for number in range(3)]
_studies = count()


@dataclass
class ModelTrial:
    state: TrialState = TrialState.PENDING
    bundle: int | None = None
    values: dict[int, float] = field(default_factory=dict)


class StorageMachine(RuleBasedStateMachine):
    leases = Bundle("leases")
    loop: asyncio.AbstractEventLoop
    storage: PostgresStorage

    def __init__(self) -> None:
        super().__init__()
        self.study = StudyName("p", f"s{next(_studies)}")
        self.trials: list[ModelTrial] = []
        self.bundles: dict[DeviceName, tuple[int, str]] = {}
        self.live: set[int] = set()
        self.tokens: list[int] = []
        self.revision = 0
        self.run(lambda tx: tx.studies.insert(self.study, SPEC, StudyState.SEARCHING))
        for name in DEVICES:
            self.run(lambda tx, name=name: tx.devices.put(Device(name, DeviceKind.CPU)))

    def run(self, work):
        return self.loop.run_until_complete(self.storage.run(work))

    def teardown(self) -> None:
        # Frees the devices, which all runs of the machine share.
        self.run(lambda tx: tx.studies.delete(self.study))

    @precondition(lambda self: len(self.trials) < 8)
    @rule(number=st.integers(1, 3))
    def insert_trials(self, number):
        new = self.run(lambda tx: tx.trials.insert(self.study, [NewTrial({"lr": 0.5}, 0)] * number))
        assert [trial.name.number for trial in new] == list(range(len(self.trials), len(self.trials) + number))
        self.trials += [ModelTrial() for _ in range(number)]

    @precondition(lambda self: self.trials)
    @rule(data=st.data(), device=st.sampled_from(DEVICES))
    def allocate(self, data, device):
        chosen = data.draw(st.sets(st.sampled_from(range(len(self.trials))), min_size=1, max_size=3))
        plan = PlannedBundle(self.study, TrialKind.SEARCH, tuple(sorted(chosen)), max_lanes=4)
        bundle = self.run(lambda tx: tx.bundles.insert(plan, device))
        free = all(self.trials[n].state is TrialState.PENDING and self.trials[n].bundle is None for n in chosen)
        assert (bundle is not None) == (free and device not in self.bundles)
        if bundle is not None:
            self.bundles[device] = (bundle.number, "ALLOCATED")
            for number in chosen:
                self.trials[number].bundle = bundle.number

    @rule(target=leases, device=st.sampled_from(DEVICES))
    def acquire(self, device) -> Lease | None:
        lease = self.run(lambda tx: tx.leases.acquire(device, "worker", 60.0))
        number, state = self.bundles.get(device, (0, ""))
        pending = [each for each in self.trials if each.bundle == number and each.state is TrialState.PENDING]
        if state == "ALLOCATED" and not pending:
            del self.bundles[device]
        assert (lease is not None) == (state == "ALLOCATED" and bool(pending))
        if lease is None:
            return None
        assert lease.fencing_token > max(self.tokens, default=0)
        self.tokens.append(lease.fencing_token)
        self.live.add(lease.fencing_token)
        self.bundles[device] = (number, "RUNNING")
        for trial in pending:
            trial.state = TrialState.RUNNING
        return lease

    @rule(device=st.sampled_from(DEVICES))
    def dissolve(self, device):
        number, state = self.bundles.get(device, (0, ""))
        if not number:
            return
        assert self.run(lambda tx: tx.bundles.dissolve(number)) == (state == "ALLOCATED")
        if state == "ALLOCATED":
            del self.bundles[device]
            for trial in self.trials:
                trial.bundle = None if trial.bundle == number else trial.bundle

    @rule(lease=leases)
    def renew(self, lease):
        if lease is None:
            return
        if lease.fencing_token in self.live:
            self.run(lambda tx: tx.leases.renew(lease.name, lease.fencing_token, 60.0))
        else:
            with pytest.raises(FailedPrecondition, match="acquire another lease"):
                self.run(lambda tx: tx.leases.renew(lease.name, lease.fencing_token, 60.0))

    @rule(lease=leases, step=st.sampled_from([RELEASE_LEASE, EXPIRE_LEASE]))
    def end_lease(self, lease, step):
        if lease is None:
            return
        ended = self.run(lambda tx: tx.leases.end(lease.name, lease.fencing_token, step))
        assert (ended is not None) == (lease.fencing_token in self.live)
        if ended is None:
            return
        self.live.remove(lease.fencing_token)
        del self.bundles[lease.device]
        for trial in self.trials:
            if trial.bundle == lease.bundle and trial.state is TrialState.RUNNING:
                trial.state, trial.bundle = TrialState.PENDING, None

    @precondition(lambda self: self.trials)
    @rule(data=st.data(), step=st.sampled_from([each for each in TRANSITIONS if each.verb != "start"]))
    def move(self, data, step):
        number = data.draw(st.sampled_from(range(len(self.trials))))
        trial = self.trials[number]
        moved = self.run(lambda tx: tx.trials.move(self.study, [number], step))
        assert bool(moved) == step.allows(trial.state)
        if moved:
            trial.state, trial.bundle = step.target, None

    @precondition(lambda self: self.trials and self.bundles)
    @rule(data=st.data(), device=st.sampled_from(DEVICES))
    def join(self, data, device):
        bundle, state = self.bundles.get(device, (0, ""))
        if state != "RUNNING":
            return
        number = data.draw(st.sampled_from(range(len(self.trials))))
        trial = self.trials[number]
        joined = self.run(lambda tx: tx.trials.join(self.study, [number], bundle, 1))
        assert bool(joined) == (trial.state is TrialState.PENDING and trial.bundle is None)
        if joined:
            trial.state, trial.bundle = TrialState.RUNNING, bundle

    @precondition(lambda self: self.trials)
    @rule(data=st.data(), step=st.integers(0, 3), value=st.floats(allow_nan=False, allow_infinity=False))
    def measure(self, data, step, value):
        number = data.draw(st.sampled_from(range(len(self.trials))))
        measured = Measured(number, Measurement(step, {"loss": value}), value, Verdict.CONTINUE)
        stored = self.run(lambda tx: tx.trials.measure(self.study, [measured]))
        assert bool(stored) == (step not in self.trials[number].values)
        self.trials[number].values.setdefault(step, value)

    @invariant()
    def stored_state_is_the_model_s(self):
        stored = self.run(lambda tx: tx.trials.all(self.study))
        assert [(trial.state, trial.bundle) for trial in stored] == [(each.state, each.bundle) for each in self.trials]
        values = [{each.step: each.metrics["loss"] for each in trial.measurements} for trial in stored]
        assert values == [each.values for each in self.trials]

    @invariant()
    def active_leases_are_the_model_s(self):
        active = self.run(lambda tx: tx.leases.active())
        assert {lease.fencing_token for lease in active} == self.live
        assert len({lease.device for lease in active}) == len(active)

    @invariant()
    def changes_since_the_last_look_carry_a_higher_revision(self):
        study = self.run(lambda tx: tx.studies.get(self.study))
        changed = self.run(lambda tx: tx.trials.changed(self.study, self.revision))
        assert study.revision >= self.revision
        assert all(self.revision < trial.revision <= study.revision for trial in changed)
        self.revision = study.revision


@pytest.mark.parametrize("examples", [8, pytest.param(100, marks=pytest.mark.slow)])
def test_storage_behaves_as_its_model(database_url, examples):
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        storage = loop.run_until_complete(PostgresStorage.open(database_url))
        machine = type("Machine", (StorageMachine,), {"loop": loop, "storage": storage})
        chosen = settings(
            max_examples=examples, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        )
        try:
            run_state_machine_as_test(machine, settings=chosen)
        finally:
            loop.run_until_complete(storage.close())
