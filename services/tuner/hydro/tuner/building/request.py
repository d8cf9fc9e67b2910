"""What goes into the child process that builds a surrogate, and what comes out: JSON both ways."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any, Self

from hydro.tuner.planning.activation import Conditions
from hydro.tuner.planning.plan import Value
from hydro.tuner.planning.profile import Profile
from hydro.tuner.planning.role import Role
from hydro.tuner.shrinking.check_figures import CheckFigures
from hydro.tuner.shrinking.transfer import Effect, Transfer, TransferKind


class Check(Enum):
    """A check of the surrogate that runs on request."""

    UPDATE_SIZE = "UPDATE_SIZE"
    LADDER = "LADDER"


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """Everything that a surrogate is made from."""

    entry_point: str
    """"module:Class"."""
    source_path: str
    """Folder that is put first on the import path; empty when the module is installed."""
    width: float
    values: Mapping[str, tuple[Value, ...]]
    """By hyperparameter, values that stand for all it may take: the roles are found with them."""
    objective_metric: str
    artifact_uri: str
    artifact_path: str
    """Where under `artifact_uri` the surrogate's artifact goes."""
    max_lanes: int
    depth: float = 1.0
    """Layers over the target's, in (0, 1]."""
    max_steps: int = 0
    """Of the longest training. 0: not known, and the compiled form is not measured."""
    threads: int = field(default=0, compare=False)
    """Of one op, on the devices; 0: not known. Devices come and go while the same surrogate is asked for."""
    checks: tuple[Check, ...] = ()
    """Beyond those that always run."""
    accept_failed_checks: bool = False
    """Whether the surrogate is built though a check fails."""
    not_transferable: tuple[str, ...] = ()
    """Hyperparameters that the search space marks so."""
    fidelities: tuple[str, ...] = ()
    """Those that make search trials cheaper than the target's training."""
    conditions: Conditions = field(default_factory=dict)
    """By hyperparameter that is not active in every trial, the values of each parent under which it is."""

    def to_json(self) -> str:
        """Gives a text that `from_json` reads."""
        return json.dumps(asdict(self), default=_plain)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Reads what `to_json` gave."""
        fields = json.loads(text)
        fields["checks"] = tuple(Check(each) for each in fields["checks"])
        fields["not_transferable"] = tuple(fields["not_transferable"])
        fields["fidelities"] = tuple(fields["fidelities"])
        fields["values"] = {name: tuple(values) for name, values in fields["values"].items()}
        fields["conditions"] = {
            name: {parent: tuple(values) for parent, values in parents.items()}
            for name, parents in fields["conditions"].items()
        }
        return cls(**fields)


@dataclass(frozen=True, slots=True)
class BuiltArtifact:
    """Where the dimension solution and the factors are stored."""

    uri: str
    digest: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class BuildResult:
    """A surrogate, or why there is none."""

    failure: str = ""
    """Why it failed; empty when it did not."""
    fingerprint: str = ""
    width: float = 0.0
    """In effect: 1 when the model cannot be shrunk, 0 while it is not known."""
    depth: float = 0.0
    """Likewise."""
    warnings: tuple[str, ...] = ()
    report: str = ""
    parameters: int = 0
    target_parameters: int = 0
    artifact: BuiltArtifact | None = None
    """None when the width is 1."""
    roles: Mapping[str, Role] = field(default_factory=dict)
    profile: Profile = field(default_factory=Profile)
    checks: CheckFigures = CheckFigures()
    optimizer_family: str = ""
    """In the parametrization's table; empty where nothing is shrunk."""
    effects: Mapping[str, Effect] = field(default_factory=dict)
    """What each hyperparameter changes."""
    transfers: tuple[Transfer, ...] = ()
    """What will become of each on the target."""

    def to_json(self) -> str:
        """Gives a text that `from_json` reads."""
        return json.dumps(asdict(self), default=_plain)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Reads what `to_json` gave."""
        fields: dict[str, Any] = json.loads(text)
        artifact = fields.pop("artifact")
        return cls(
            **fields
            | {
                "warnings": tuple(fields["warnings"]),
                "artifact": BuiltArtifact(**artifact) if artifact else None,
                "roles": {name: Role(role) for name, role in fields["roles"].items()},
                "profile": Profile.from_fields(fields["profile"]),
                "checks": CheckFigures.from_fields(fields["checks"]),
                "transfers": tuple(_transfer(each) for each in fields["transfers"]),
                "effects": {name: _effect(each) for name, each in fields["effects"].items()},
            }
        )


def _effect(fields: Mapping[str, Any]) -> Effect:
    return Effect(Role(fields["role"]), tuple(fields["options"]), fields["changes_data_alone"])


def _transfer(fields: Mapping[str, Any]) -> Transfer:
    return Transfer(fields["hyperparameter"], TransferKind(fields["kind"]), fields["explanation"])


def _plain(value: object) -> str:
    if not isinstance(value, Role | Check | TransferKind):
        raise TypeError(f"{value!r} is no value of a build")
    return str(value.value)
