"""Suggestions are searched ahead: asks do not wait, results make them stale, and a replay gives the same."""

import asyncio
from dataclasses import replace

import pytest

from hydro.coordinator.search.conformance import request
from hydro.coordinator.search.prefetch import Prefetch
from hydro.coordinator.search.search_backend import KnownTrial, Outcome
from hydro.coordinator.trial import SearchedHistory
from hydro.kit.errors import Unavailable


class SteppedSearch:
    """Answers a search when the test lets it; a suggestion says what it was made from."""

    def __init__(self):
        self.requests = []
        self.may_answer = asyncio.Semaphore(0)
        self.failure = None

    async def ask(self, asked):
        self.requests.append(asked)
        await self.may_answer.acquire()
        if self.failure is not None:
            raise self.failure
        results = sum(known.outcome is not Outcome.OPEN for known in asked.history)
        return [
            {"number": number, "results": results}
            for number in range(asked.first_index, asked.first_index + asked.count)
        ]

    async def answer(self):
        before = len(self.requests)
        self.may_answer.release()
        await until(lambda: not self.may_answer._value and len(self.requests) >= before)
        await asyncio.sleep(0.01)


async def until(is_so):
    async with asyncio.timeout(10):
        while not is_so():
            await asyncio.sleep(0.001)


def ended(number):
    return KnownTrial(number, {"number": number}, Outcome.SUCCEEDED, 1.0, 1)


@pytest.fixture
async def line():
    search = SteppedSearch()
    prefetch = Prefetch(search, request(study="s"), length=3, most_stale=2, most_trials=7)
    prefetch.search = search
    yield prefetch
    await prefetch.close()


async def test_an_ask_takes_what_was_searched_before_it(line):
    line.learn([], 0)
    await line.search.answer()
    taken = await asyncio.wait_for(line.take(0, 2), 1)
    assert [each.hyperparameters["number"] for each in taken] == [0, 1]


async def test_an_ask_waits_for_the_search_when_nothing_is_ready(line):
    ask = asyncio.create_task(line.take(0, 5))
    await until(lambda: line.search.requests)
    assert not ask.done()
    assert line.search.requests[0].count == 5
    await line.search.answer()
    assert len(await ask) == 5


async def test_no_more_than_the_line_is_searched_ahead(line):
    line.learn([], 0)
    await line.search.answer()
    await asyncio.sleep(0.05)
    assert [each.count for each in line.search.requests] == [3]


async def test_a_result_has_the_line_searched_anew(line):
    line.learn([ended(0)], 1)
    await line.search.answer()
    line.learn([ended(1)], 2)
    await line.search.answer()
    (taken,) = await line.take(2, 1)
    assert taken.hyperparameters["results"] == 2 and taken.searched == SearchedHistory(2, (0, 1))


async def test_an_ask_during_a_search_gets_the_older_suggestion_that_is_not_too_stale(line):
    line.learn([ended(0)], 1)
    await line.search.answer()
    line.learn([ended(1)], 2)
    await until(lambda: len(line.search.requests) == 2)
    (taken,) = await asyncio.wait_for(line.take(2, 1), 1)
    assert taken.searched == SearchedHistory(1, (0,))


async def test_an_ask_waits_rather_than_take_a_suggestion_that_is_too_stale(line):
    line.learn([ended(0)], 1)
    await line.search.answer()
    line.learn([ended(number) for number in range(1, 4)], 4)
    ask = asyncio.create_task(line.take(4, 1))
    await asyncio.sleep(0.05)
    assert not ask.done()
    await line.search.answer()
    (taken,) = await ask
    assert taken.searched == SearchedHistory(4, (0, 1, 2, 3))


async def test_trials_that_were_taken_are_open_to_the_next_search(line):
    line.learn([], 0)
    await line.search.answer()
    await line.take(0, 2)
    await until(lambda: len(line.search.requests) == 2)
    known = line.search.requests[1].history
    assert [(each.number, each.outcome) for each in known] == [(0, Outcome.OPEN), (1, Outcome.OPEN)]


async def test_a_suggestion_is_what_the_search_gives_again_for_the_history_it_saw(line):
    line.learn([ended(0), ended(1)], 2)
    await line.search.answer()
    (taken,) = await line.take(2, 1)
    seen = line.search.requests[0]
    again = replace(seen, first_index=taken.searched.searched_from, count=1)
    line.search.may_answer.release(), line.search.may_answer.release()
    assert (await line.search.ask(again))[0] == taken.hyperparameters
    assert tuple(each.number for each in seen.history if each.outcome is not Outcome.OPEN) == taken.searched.ended


async def test_who_waits_is_told_of_a_failing_search_and_the_next_ask_tries_again(line):
    line.search.failure = Unavailable("the search died")
    ask = asyncio.create_task(line.take(0, 1))
    await until(lambda: line.search.requests)
    await line.search.answer()
    with pytest.raises(Unavailable, match="the search died"):
        await ask
    line.search.failure = None
    ask = asyncio.create_task(line.take(0, 1))
    await line.search.answer()
    assert len(await ask) == 1


async def test_numbers_that_others_took_are_left_out(line):
    line.learn([], 0)
    await line.search.answer()
    line.learn([], 2)
    (taken,) = await asyncio.wait_for(line.take(2, 1), 1)
    assert taken.hyperparameters["number"] == 2


async def test_nothing_is_searched_beyond_the_last_trial(line):
    line.learn([], 5)
    await line.search.answer()
    assert (line.search.requests[0].first_index, line.search.requests[0].count) == (5, 2)
