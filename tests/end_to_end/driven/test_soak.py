"""Driven for minutes, or for hours by `make soak`, a coordinator does not grow."""

import asyncio
import os
import time

import psutil
import pytest

from .driving import Driving

SECONDS = float(os.environ.get("HYDRO_SOAK_SECONDS", "180"))
TRIALS_PER_STUDY = 60
MOST_MEMORY_GROWTH_BYTES = 24 * 2**20
"""What caches of ended studies may take. Units: bytes."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(SECONDS + 300)]


async def measured(suite):
    process = psutil.Process(suite.process("hydro.coordinator").pid)
    connections = await suite.sql("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
    return {
        "memory": process.memory_info().rss,
        "descriptors": process.num_fds(),
        "threads": process.num_threads(),
        "connections": connections[0]["count"],
        "children": len(process.children(recursive=True)),
    }


async def drive_one(address):
    driving = Driving(address, trials=TRIALS_PER_STUDY)
    try:
        await driving.create()
        await driving.run()
        await driving.check_end()
    finally:
        await driving.close()


async def test_a_coordinator_under_load_for_long_does_not_grow(running_suite):
    end = time.monotonic() + SECONDS
    # The first third fills what is filled once: pools, code, pages of the allocator.
    while time.monotonic() < end - 2 * SECONDS / 3:
        await drive_one(running_suite.address)
    before = await measured(running_suite)
    studies = 0
    while time.monotonic() < end:
        await drive_one(running_suite.address)
        studies += 1
    await asyncio.sleep(1)
    after = await measured(running_suite)
    assert studies > 0
    assert after["memory"] - before["memory"] < MOST_MEMORY_GROWTH_BYTES, (before, after)
    for each in ("descriptors", "connections"):
        # A few come and go with the calls of the moment.
        assert after[each] <= before[each] + 8, (each, before, after)
    assert (after["threads"], after["children"]) <= (before["threads"] + 4, before["children"]), (before, after)
