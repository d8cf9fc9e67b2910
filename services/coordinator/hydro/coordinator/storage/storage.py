"""The port to where the coordinator's state is kept, and its laws.

1.  `Storage.run(work)` runs `work` in one transaction: all of it is stored, or none. It has been stored for good when
    `run` returns. When the database goes away meanwhile, `work` may run again from its start: it must not keep anything
    outside the transaction. When the database stays away, `run` raises Unavailable.
2.  A state changes only by a `Transition`, and only while the stored state is one of its sources: of two that compete,
    one wins. `move` of one resource raises FailedPrecondition (WRONG_STATE); `move` of many gives those that moved.
3.  Whatever a lease's worker writes is compared with the lease's fencing token by the statement that writes:
    FailedPrecondition (LEASE_LOST) when the lease has ended.
4.  The first measurement of a (trial, step) stands.
5.  Only the database's clock counts: leases end by it, times come from it.
6.  Every change of a study or of one of its trials gives the study a higher revision, which the changed trials carry. A
    revision is seen only together with all the changes up to it.
7.  A device has at most one live bundle, a bundle at most one active lease. Fencing tokens only grow.
8.  Reading a resource that does not exist raises NotFound.
9.  A study driven by its caller, and allocation, have one owner. Another coordinator becomes it only when the owner's
    row has expired by the database's clock or is gone. The epoch grows with it, after the transactions that hold the
    old one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Protocol, TypeVar

from hydro.coordinator.bundle import Bundle, MemoryMiss, PlannedBundle
from hydro.coordinator.device import Device, DeviceState
from hydro.coordinator.lease import Lease, LeaseState
from hydro.coordinator.names import DeviceName, LeaseName, StudyName, SurrogateName, TrialName
from hydro.coordinator.stopping import SearchStanding
from hydro.coordinator.storage.driven_storage import TimedRun
from hydro.coordinator.storage.trial_values import Measured, NewRetry, NewTrial, PriorTrial, Progress, TrialQuery
from hydro.coordinator.study import Study, StudyPlace, StudySpec, StudyState, StudyStatistics
from hydro.coordinator.surrogate import Surrogate
from hydro.coordinator.tags import Tags
from hydro.coordinator.transition import Transition
from hydro.coordinator.trial import (
    Artifact,
    HyperparameterChange,
    Hyperparameters,
    Result,
    Trial,
    TrialKind,
    TrialState,
)

Answer = TypeVar("Answer")


class Studies(Protocol):
    """The studies of one transaction."""

    async def insert(
        self, name: StudyName, spec: StudySpec, state: StudyState, tags: Tags = MappingProxyType({})
    ) -> Study:
        """Stores a new study. Raises AlreadyExists."""

    async def get(self, name: StudyName) -> Study:
        """Gives the study without its statistics."""

    async def lock(self, name: StudyName) -> Study:
        """Gives the study, and keeps every other writer of it and of its trials waiting until the transaction ends."""

    async def own(self, name: StudyName, owner: str) -> Study:
        """Locks the study, and makes the coordinator its owner with a higher epoch, if it is driven by its caller.

        Raises:
            NotOwner: another coordinator owns it, and lives.
        """

    async def list(
        self,
        project: str,
        limit: int,
        after: StudyPlace | None = None,
        states: Sequence[StudyState] = (),
        tags: Tags = MappingProxyType({}),
    ) -> Sequence[Study]:
        """Gives studies of the project, the newest first, those behind the place.

        Only those in one of the states (none given: in any) that have all of the tags.
        """

    async def count_open(self, project: str) -> int:
        """Counts the project's studies that have not ended; others that count wait until the transaction ends."""

    async def in_states(self, states: Iterable[StudyState]) -> Sequence[Study]:
        """Gives every study in one of the states."""

    async def exhausted(self, states: Iterable[StudyState]) -> Sequence[Study]:
        """Gives those in one of the states that were given all their trials and have none PENDING or RUNNING."""

    async def limited(self, states: Iterable[StudyState]) -> Sequence[Study]:
        """Gives those in one of the states that something may end before all their trials are made."""

    async def timed(self, owner: str) -> Sequence[TimedRun]:
        """Gives the RUNNING trials of driven studies with a trial timeout, the owner's or no living coordinator's."""

    async def standing(self, name: StudyName) -> SearchStanding:
        """Gives how far the search has come."""

    async def fence(self, name: StudyName) -> None:
        """Raises the epoch: who has the study in memory stores nothing of it any more before it reads it again."""

    async def statistics(self, name: StudyName) -> StudyStatistics:
        """Counts the study's search trials."""

    async def move(self, name: StudyName, step: Transition[StudyState], reason: str = "") -> Study:
        """Takes the step, stores the reason, and the end's time. Time in SEARCHING adds up."""

    async def set_tags(self, name: StudyName, tags: Tags) -> Study:
        """Gives the study these tags and no others."""

    async def add_warnings(self, name: StudyName, warnings: Sequence[str]) -> None:
        """Adds those that the study does not have yet."""

    async def set_surrogate(self, name: StudyName, surrogate: SurrogateName, fingerprint: str) -> None:
        """Says which surrogate the study tunes, and the digest of the task's source."""

    async def set_best_trial(self, name: StudyName, number: int) -> None:
        """Says which trial is the best."""

    async def limit_trials(self, name: StudyName, max_trials: int) -> None:
        """Lowers the number of search trials that the study has in the end."""

    async def add_known_points(self, name: StudyName, points: Sequence[Hyperparameters]) -> None:
        """Adds to the study's known points."""

    async def put_prior_trials(self, name: StudyName, trials: Sequence[PriorTrial]) -> None:
        """Stores the trials that the study's search begins with."""

    async def prior_trials(self, name: StudyName) -> Sequence[PriorTrial]:
        """Gives them, in the order of their numbers."""

    async def delete(self, name: StudyName) -> None:
        """Forgets the study and all that is its own."""


class Trials(Protocol):
    """The trials of one transaction."""

    async def insert(self, study: StudyName, trials: Sequence[NewTrial]) -> Sequence[Trial]:
        """Stores new trials under the study's next numbers."""

    async def get(self, name: TrialName) -> Trial:
        """Gives the trial with its measurements and its log."""

    async def list(self, study: StudyName, query: TrialQuery) -> Sequence[Trial]:
        """Gives the trials that are asked for, with their measurements."""

    async def all(self, study: StudyName, kind: TrialKind | None = None) -> Sequence[Trial]:
        """Gives the study's trials with their measurements in the order of their numbers."""

    async def open(self, study: StudyName) -> Sequence[Trial]:
        """Gives the study's trials that have not ended, without measurements, in the order of their numbers."""

    async def waiting(self, kind: TrialKind) -> Sequence[Trial]:
        """Gives the PENDING trials of every study that are in no bundle, without measurements, oldest first."""

    async def changed(self, study: StudyName, revision: int) -> Sequence[Trial]:
        """Gives the trials changed after the revision, each with its last measurement."""

    async def in_bundle(self, bundle: int) -> Sequence[Trial]:
        """Gives the trials that are planned into the bundle or run in it, without measurements, by number."""

    async def inserted(self, bundle: int, sequence: int) -> Sequence[Trial]:
        """Gives the running trials of the bundle that this report message's answer carried."""

    async def move(
        self, study: StudyName, numbers: Sequence[int], step: Transition[TrialState], reason: str = ""
    ) -> Sequence[int]:
        """Takes the step with each trial that allows it, and gives their numbers.

        A trial that does not run any more, or is promoted, leaves its bundle.
        """

    async def join(self, study: StudyName, numbers: Sequence[int], bundle: int, sequence: int) -> Sequence[int]:
        """Starts PENDING trials that are in no bundle inside a running one, and gives their numbers."""

    async def put_result(self, name: TrialName, result: Result) -> None:
        """Stores what the trial has come to."""

    async def results(self, study: StudyName) -> Sequence[tuple[int, Result]]:
        """Gives what the study's succeeded search trials have come to, by number; not of those whose value is all."""

    async def used_points(self, study: StudyName) -> Sequence[int]:
        """Gives the indices of the known points that have a trial."""

    async def measure(self, study: StudyName, measured: Sequence[Measured]) -> Sequence[tuple[int, int]]:
        """Stores measurements with the verdicts on them, and each trial's last objective.

        Gives (number, step) of those stored: where a step has a measurement, nothing happens.
        """

    async def set_value(self, name: TrialName, value: float) -> None:
        """Stores the trial's final objective, which was not measured at a step."""

    async def standing(self, study: StudyName, keys: Sequence[tuple[int, int]]) -> Mapping[tuple[int, int], Measured]:
        """Gives the measurements that stand at these (number, step)."""

    async def progress(self, study: StudyName, lanes: Sequence[Progress], *, on_slot: bool) -> None:
        """Raises the trials' acknowledged steps, replaces older checkpoints, appends to their logs."""

    async def inherit(
        self,
        name: TrialName,
        checkpoint: Artifact | None,
        schedule: Sequence[HyperparameterChange],
        changes: Sequence[HyperparameterChange],
    ) -> None:
        """Has the trial go on from another one's checkpoint, with the hyperparameters that its schedule ends with."""

    async def add_device_seconds(self, study: StudyName, numbers: Sequence[int], seconds: float) -> None:
        """Adds to each trial's device time."""

    async def note_retry(
        self, study: StudyName, number: int, retry: NewRetry, *, failures: int, lane_limit: int
    ) -> None:
        """Keeps what went wrong with a run, in the log too, and how many failures that makes."""

    async def set_tags(self, name: TrialName, tags: Tags) -> None:
        """Gives the trial these tags and no others."""


class Bundles(Protocol):
    """The bundles of one transaction."""

    async def insert(self, plan: PlannedBundle, device: DeviceName) -> Bundle | None:
        """Allocates the plan to the device, and its PENDING trials to the bundle.

        None, and nothing is stored, when the device is not READY or has a live bundle, or a trial is not free any more.
        """

    async def get(self, number: int) -> Bundle:
        """Gives the bundle."""

    async def live(self, study: StudyName | None = None) -> Sequence[Bundle]:
        """Gives the bundles that have not ended."""

    async def unclaimed(self, seconds: float) -> Sequence[Bundle]:
        """Gives the ALLOCATED bundles that no worker has taken for so long by the database's clock."""

    async def note(self, number: int, fusion_count: int, device_seconds: float) -> None:
        """Adds device time, and raises the largest fusion count."""

    async def dissolve(self, number: int) -> bool:
        """Ends an ALLOCATED bundle that no worker has taken; its trials are free again. False: it runs or has ended."""


class Leases(Protocol):
    """The leases of one transaction."""

    async def acquire(self, device: DeviceName, worker: str, seconds: float) -> Lease | None:
        """Starts the bundle that is allocated to the device, and its trials. None: there is none."""

    async def get(self, name: LeaseName) -> Lease:
        """Gives the lease, whatever its state."""

    async def renew(self, name: LeaseName, fencing_token: int, seconds: float, sequence: int | None = None) -> Lease:
        """Puts off the expiry, and notes the report message. Raises FailedPrecondition (LEASE_LOST)."""

    async def end(self, name: LeaseName, fencing_token: int, step: Transition[LeaseState]) -> Lease | None:
        """Ends an active lease and its bundle; running trials return to PENDING. None: it had ended."""

    async def overdue(self) -> Sequence[Lease]:
        """Gives the active leases whose time is over by the database's clock."""

    async def active(self) -> Sequence[Lease]:
        """Gives every active lease."""


class Devices(Protocol):
    """The devices of one transaction."""

    async def put(self, device: Device) -> Device:
        """Stores a new device, or what is said of a known one. A GONE one is READY again; a DRAINING one stays so."""

    async def get(self, name: DeviceName) -> Device:
        """Gives the device."""

    async def list(self, after: str, limit: int) -> Sequence[Device]:
        """Gives devices in the order of their names, from the one behind `after`."""

    async def all(self) -> Sequence[Device]:
        """Gives every device, in the order of their names."""

    async def move(self, name: DeviceName, step: Transition[DeviceState]) -> Device:
        """Takes the step."""


class Surrogates(Protocol):
    """The surrogates of one transaction."""

    async def put(self, study: StudyName, surrogate: Surrogate) -> None:
        """Stores what the tuner said, unless the surrogate is already READY or FAILED."""

    async def of_study(self, study: StudyName) -> Surrogate | None:
        """Gives the study's surrogate."""

    async def note_misses(self, study: StudyName, device: DeviceName, misses: Sequence[MemoryMiss]) -> None:
        """Keeps what the study's bundles met on a device: of each kind and count the most that was held."""

    async def misses(self, study: StudyName) -> Mapping[DeviceName, Sequence[MemoryMiss]]:
        """Gives what was met, by device."""


class Requests(Protocol):
    """Answers of the past, so that a call may be sent twice."""

    async def answer(self, method: str, request_id: str) -> Sequence[str] | None:
        """Gives the resource names of the first answer; None when there was none."""

    async def remember(self, method: str, request_id: str, answer: Sequence[str]) -> None:
        """Stores the answer together with what the request did."""


class Coordinators(Protocol):
    """The coordinators that live, and what they own, in one transaction."""

    async def renew(self, name: str, address: str, seconds: float) -> None:
        """Makes the coordinator's row, or puts off its expiry."""

    async def replace(self, name: str, address: str) -> None:
        """Removes the others at the address, and rows of long ago."""

    async def leave(self, name: str) -> None:
        """Removes the coordinator's row: what it owns is free."""

    async def owner_of(self, study: StudyName) -> str | None:
        """Gives the address of the living coordinator that decides about the study; None: there is none."""

    async def allocation_owner(self) -> str | None:
        """Gives the address of the living coordinator that allocates; None: there is none."""

    async def take_allocation(self, name: str) -> int | None:
        """Makes the coordinator allocation's owner, and gives its epoch. None: another one is, and lives."""

    async def hold_allocation(self, epoch: int) -> None:
        """Keeps others from taking allocation over until the transaction ends. Raises NotOwner: the epoch is stale."""


class Transaction(Protocol):
    """One transaction's view of everything."""

    @property
    def studies(self) -> Studies:
        """The studies."""
        ...

    @property
    def trials(self) -> Trials:
        """The trials."""
        ...

    @property
    def bundles(self) -> Bundles:
        """The bundles."""
        ...

    @property
    def leases(self) -> Leases:
        """The leases."""
        ...

    @property
    def devices(self) -> Devices:
        """The devices."""
        ...

    @property
    def surrogates(self) -> Surrogates:
        """The surrogates."""
        ...

    @property
    def requests(self) -> Requests:
        """The requests."""
        ...

    @property
    def coordinators(self) -> Coordinators:
        """The coordinators."""
        ...


class Storage(Protocol):
    """Everything that the coordinator remembers."""

    async def run(self, work: Callable[[Transaction], Awaitable[Answer]]) -> Answer:
        """Runs `work` in one transaction and gives its result once it is stored. See the laws above."""

    async def close(self) -> None:
        """Gives every connection back."""
