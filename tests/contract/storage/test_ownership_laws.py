"""The laws of the storage port on who owns a study and allocation, on a real Postgres."""

from __future__ import annotations

import asyncio

import pytest

from hydro.coordinator.names import StudyName
from hydro.coordinator.ownership.owner import NotOwner
from hydro.coordinator.pruning_rules import NoPruning
from hydro.coordinator.search_space import FloatDomain, Parameter, SearchSpace
from hydro.coordinator.study import Goal, Objective, Sampler, StudySpec, StudyState

STUDY = StudyName("p", "digits")
SPEC = StudySpec(
    None, SearchSpace((Parameter("lr", FloatDomain(0, 1)),)), Objective("loss", Goal.MINIMIZE), Sampler.RANDOM,
    NoPruning(), 8, 1.0, 9, 9, 0,
)  # fmt: skip


async def test_a_study_and_allocation_are_taken_over_only_from_coordinators_that_are_gone(storage):
    await storage.run(lambda tx: tx.studies.insert(STUDY, SPEC, StudyState.SEARCHING))
    await storage.run(lambda tx: tx.coordinators.renew("first", "here", 60.0))
    await storage.run(lambda tx: tx.studies.own(STUDY, "first"))
    epoch = await storage.run(lambda tx: tx.coordinators.take_allocation("first"))
    assert await storage.run(lambda tx: tx.coordinators.take_allocation("second")) is None
    with pytest.raises(NotOwner):
        await storage.run(lambda tx: tx.studies.own(STUDY, "second"))
    assert await storage.run(lambda tx: tx.coordinators.owner_of(STUDY)) == "here"
    await storage.run(lambda tx: tx.coordinators.hold_allocation(epoch))
    await storage.run(lambda tx: tx.coordinators.renew("first", "here", -1.0))
    assert await storage.run(lambda tx: tx.coordinators.owner_of(STUDY)) is None
    assert await storage.run(lambda tx: tx.coordinators.take_allocation("second")) == epoch + 1
    await storage.run(lambda tx: tx.studies.own(STUDY, "second"))
    with pytest.raises(NotOwner):
        await storage.run(lambda tx: tx.coordinators.hold_allocation(epoch))


async def test_who_starts_at_an_address_replaces_who_was_there(storage):
    for name, address in (("old", "here"), ("other", "there"), ("nowhere", "")):
        await storage.run(lambda tx, name=name, address=address: tx.coordinators.renew(name, address, 60.0))
        await storage.run(lambda tx, name=name: tx.coordinators.take_allocation(name))
    assert await storage.run(lambda tx: tx.coordinators.allocation_owner()) == "here"
    await storage.run(lambda tx: tx.coordinators.replace("new", "here"))
    await storage.run(lambda tx: tx.coordinators.replace("newer", ""))
    assert await storage.run(lambda tx: tx.coordinators.allocation_owner()) is None
    assert await storage.run(lambda tx: tx.coordinators.take_allocation("nowhere")) is not None
    assert await storage.run(lambda tx: tx.coordinators.take_allocation("other")) is None


async def test_allocation_is_taken_over_after_the_transactions_that_hold_it(storage):
    epoch = await storage.run(lambda tx: tx.coordinators.take_allocation("gone"))
    holding, may_end = asyncio.Event(), asyncio.Event()

    async def slow(tx):
        await tx.coordinators.hold_allocation(epoch)
        holding.set()
        await may_end.wait()

    task = asyncio.create_task(storage.run(slow))
    await holding.wait()
    taking = asyncio.create_task(storage.run(lambda tx: tx.coordinators.take_allocation("next")))
    await asyncio.sleep(0.1)
    assert not taking.done()
    may_end.set()
    await task
    assert await taking == epoch + 1
