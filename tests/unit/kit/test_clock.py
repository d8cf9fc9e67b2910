import asyncio

from hydro.kit.clock import ManualClock


async def test_a_manual_clock_wakes_only_those_whose_time_has_come() -> None:
    clock, woken = ManualClock(), []

    async def wait(seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append(seconds)

    async with asyncio.TaskGroup() as group:
        for seconds in (3.0, 1.0, 2.0):
            group.create_task(wait(seconds))
        await asyncio.sleep(0)
        clock.advance(2.0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert woken == [1.0, 2.0]
        clock.advance(1.0)
    assert woken == [1.0, 2.0, 3.0]
    assert clock.monotonic() == 3.0
