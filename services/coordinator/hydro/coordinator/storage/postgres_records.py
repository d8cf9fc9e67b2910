"""Surrogates, and the answers of past requests, in Postgres."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert

from hydro.coordinator.bundle import MemoryMiss
from hydro.coordinator.names import DeviceName, StudyName, SurrogateName
from hydro.coordinator.storage import schema
from hydro.coordinator.storage.documents import artifact_document, artifact_of, clean
from hydro.coordinator.storage.postgres_session import PostgresSession
from hydro.coordinator.surrogate import Surrogate, SurrogateState

_SURROGATE = schema.surrogate
_MISS = schema.memory_miss
_REQUEST = schema.request


class PostgresSurrogates:
    """The surrogates of one transaction."""

    def __init__(self, session: PostgresSession) -> None:
        self._session = session

    async def put(self, study: StudyName, surrogate: Surrogate) -> None:
        """Stores what the tuner said, unless the surrogate is already READY or FAILED."""
        said = {
            "state": surrogate.state.value,
            "state_reason": clean(surrogate.state_reason),
            "width": surrogate.width,
            "warnings": list(surrogate.warnings),
            "fingerprint": surrogate.fingerprint,
            "lane_hyperparameters": sorted(surrogate.lane_hyperparameters),
            "artifact": artifact_document(surrogate.artifact),
            "record": surrogate.record,
        }
        await self._session.execute(
            insert(_SURROGATE)
            .values(name=str(surrogate.name), study=str(study), **said)
            .on_conflict_do_update(
                index_elements=[_SURROGATE.c.name],
                set_=said,
                where=_SURROGATE.c.state == SurrogateState.BUILDING.value,
            )
        )

    async def of_study(self, study: StudyName) -> Surrogate | None:
        """Gives the study's surrogate."""
        row = await self._session.row(select(_SURROGATE).where(_SURROGATE.c.study == str(study)))
        if row is None:
            return None
        return Surrogate(
            name=SurrogateName.parse(row.name),
            state=SurrogateState(row.state),
            state_reason=row.state_reason,
            width=row.width,
            warnings=tuple(row.warnings),
            fingerprint=row.fingerprint,
            lane_hyperparameters=frozenset(row.lane_hyperparameters),
            artifact=artifact_of(row.artifact),
            record=row.record,
        )

    async def note_misses(self, study: StudyName, device: DeviceName, misses: Sequence[MemoryMiss]) -> None:
        """Keeps what the study's bundles met on a device: of each kind and count the most that was held."""
        for miss in misses:
            said = insert(_MISS).values(study=str(study), device=str(device), **asdict(miss))
            most = func.greatest(_MISS.c.memory_bytes, said.excluded.memory_bytes)
            await self._session.execute(
                said.on_conflict_do_update(index_elements=_MISS.primary_key.columns, set_={"memory_bytes": most})
            )

    async def misses(self, study: StudyName) -> Mapping[DeviceName, Sequence[MemoryMiss]]:
        """Gives what was met, by device."""
        query = select(_MISS).where(_MISS.c.study == str(study)).order_by(_MISS.c.device, _MISS.c.lanes)
        found: dict[DeviceName, list[MemoryMiss]] = {}
        for row in await self._session.rows(query):
            found.setdefault(DeviceName(row.device), []).append(MemoryMiss(row.lanes, row.memory_bytes, row.refused))
        return found


class PostgresRequests:
    """Answers of the past, so that a call may be sent twice."""

    def __init__(self, session: PostgresSession) -> None:
        self._session = session

    async def answer(self, method: str, request_id: str) -> Sequence[str] | None:
        """Gives the resource names of the first answer; None when there was none."""
        if not request_id:
            return None
        row = await self._session.row(
            select(_REQUEST.c.answer).where(_REQUEST.c.method == method, _REQUEST.c.request_id == clean(request_id))
        )
        return None if row is None else list(row.answer)

    async def remember(self, method: str, request_id: str, answer: Sequence[str]) -> None:
        """Stores the answer together with what the request did."""
        if request_id:
            await self._session.execute(
                insert(_REQUEST)
                .values(method=method, request_id=clean(request_id), answer=list(answer))
                .on_conflict_do_update(
                    index_elements=[_REQUEST.c.method, _REQUEST.c.request_id], set_={"answer": list(answer)}
                )
            )
