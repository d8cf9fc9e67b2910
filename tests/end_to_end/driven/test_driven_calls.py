"""Every mutating call is sent twice, late, out of order, or given up in the middle and sent again."""

import asyncio
import random

import pytest

from hydro.api.coordinator.v1 import study_pb2
from hydro.kit.errors import DeadlineExceeded

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


async def sent_twice(send):
    first, second = await asyncio.gather(send(), send())
    for each in (first, second):
        if isinstance(each, study_pb2.Study):
            # It tells how long it has been searching by the time of each answer.
            each.statistics.ClearField("searched_seconds")
    # The study may come to its end between the two: what it was before is no other answer to the same question.
    if not (isinstance(first, study_pb2.Study) and (first.state, first.etag) != (second.state, second.etag)):
        assert first == second
    return second


def late_duplicates(chance):
    """A duplicate of each call arrives after later calls of the same trial, its end among them."""
    late = []

    async def way(send):
        answer = await send()

        async def again():
            await asyncio.sleep(chance.uniform(0, 0.3))
            assert same(await send(), answer)

        late.append(asyncio.create_task(again()))
        return answer

    way.late = late
    return way


def same(again, first):
    """A repeated call gives the first answer; a trial that it names may have gone on since."""
    names = [[trial.name for trial in each.trials] for each in (again, first) if hasattr(each, "trials")]
    return names[0] == names[1] if names and names[0] else type(again) is type(first)


def given_up(chance):
    """Every other call is cancelled while it is on its way; what became of it is not known."""

    async def way(send):
        if chance.random() < 0.5:
            return await send()
        call = asyncio.ensure_future(as_coroutine(send))
        done, _ = await asyncio.wait([call], timeout=chance.uniform(0.0005, 0.05))
        if done:
            return call.result()
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        raise DeadlineExceeded("given up")

    return way


async def as_coroutine(send):
    return await send()


async def test_every_call_sent_twice_at_once_is_answered_alike(running_suite, driven):
    await driven(running_suite.address, way=sent_twice)


async def test_duplicates_that_arrive_late_and_out_of_order_change_nothing(running_suite, driven):
    await driven(running_suite.address, way=late_duplicates(random.Random(1)))


async def test_a_call_given_up_in_the_middle_and_sent_again_is_done_once(running_suite, driven):
    driving = await driven(running_suite.address, way=given_up(random.Random(2)))
    assert driving.errors["DeadlineExceeded"]
