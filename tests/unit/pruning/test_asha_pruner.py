"""ASHA pauses and promotes as its paper says.

Source: Li et al., "A System for Massively Parallel Hyperparameter Tuning" (MLSys 2020), Algorithm 2.
"""

from hypothesis import given
from hypothesis import strategies as st

from hydro.coordinator.pruning.pruner import MeasuredTrial, Report, Standing
from hydro.coordinator.pruning.pruning_rule import build_pruner, measured_steps
from hydro.coordinator.pruning_rules import AshaPruning
from hydro.coordinator.study import Goal
from hydro.coordinator.trial import Verdict

RULE = AshaPruning(min_steps=50, eta=4)
CONTINUE, PAUSE, STOP = Verdict.CONTINUE, Verdict.PAUSE, Verdict.STOP

few_values = st.floats(0, 4).map(lambda value: round(value * 2) / 2)  # with ties
loss_lists = st.lists(few_values, min_size=1, max_size=60)


def pruner(history=(), rule=RULE, goal=Goal.MINIMIZE, max_steps=800):
    return build_pruner(rule, goal, max_steps, history)


def reports(step, values, first_trial=0):
    return [Report(first_trial + index, step, value) for index, value in enumerate(values)]


class Paper:
    """Algorithm 2's bookkeeping, by scans and without state but the rungs. Ties: the earlier trial first."""

    def __init__(self, eta, rungs):
        self.eta = eta
        self.rungs = [{} for _ in range(rungs)]
        self.promoted = [set() for _ in range(rungs)]

    def candidates(self, rung):
        ranked = sorted(self.rungs[rung], key=lambda trial: (self.rungs[rung][trial], trial))
        return ranked[: len(ranked) // self.eta]

    def get_job(self):
        """The promotion that a free worker gets, or None: it would draw a new configuration."""
        for rung in reversed(range(len(self.rungs) - 1)):
            promotable = [trial for trial in self.candidates(rung) if trial not in self.promoted[rung]]
            if promotable:
                self.promoted[rung].add(promotable[0])
                return promotable[0], rung + 1
        return None


@given(
    losses=st.lists(st.tuples(*[few_values] * 4), min_size=1, max_size=80),
    eta=st.integers(2, 4),
    sign=st.sampled_from([1, -1]),
)
def test_promotions_are_those_of_the_paper_one_worker_after_the_other(losses, eta, sign):
    """One worker, so each result is followed by one get_job: CONTINUE is not taken, the trial waits as in the paper."""
    steps = [10 * eta**rung for rung in range(4)]
    goal = Goal.MINIMIZE if sign == 1 else Goal.MAXIMIZE
    ours = pruner(rule=AshaPruning(10, eta), goal=goal, max_steps=steps[-1])
    paper = Paper(eta, len(steps))
    position = {}
    fresh = iter(range(len(losses)))
    job = (next(fresh), 0)
    while job is not None:
        trial, rung = job
        position[trial] = rung
        loss = losses[trial][rung]
        paper.rungs[rung][trial] = loss
        candidates_before = {
            trial for level in range(3) for trial in paper.candidates(level) if trial not in paper.promoted[level]
        }
        (verdict,) = ours.decide([Report(trial, steps[rung], sign * loss)])
        assert (verdict is CONTINUE) == (trial in candidates_before)
        assert (verdict is STOP) == (rung == 3)
        waiting = ours.promotable()
        job = paper.get_job()
        if verdict is CONTINUE:
            # The lane at hand goes on at once, before whatever get_job would have chosen: give the paper the same turn.
            if job is not None:
                paper.promoted[job[1] - 1].discard(job[0])
            paper.promoted[rung].add(trial)
            job = (trial, rung + 1)
        elif job is not None:
            assert waiting[0] == job[0]
            ours.promote(job[0])
        else:
            assert waiting == []
            job = next(((trial, 0) for trial in fresh), None)
    assert ours.promotable() == []


@given(
    losses=st.lists(st.tuples(*[few_values] * 3), min_size=1, max_size=60),
    eta=st.integers(2, 4),
    workers=st.integers(1, 8),
    order=st.randoms(use_true_random=False),
)
def test_promotions_are_those_of_the_paper_in_any_order_of_arrival(losses, eta, workers, order):
    """Many workers finish in any order. After each result every promotion that the paper would give is given."""
    ours, paper = pruner(rule=AshaPruning(10, eta), max_steps=10 * eta**2), Paper(eta, 3)
    fresh, waiting, running = iter(range(len(losses))), [], []
    while True:
        while len(running) < workers:
            job = waiting.pop(0) if waiting else next(((trial, 0) for trial in fresh), None)
            if job is None:
                break
            running.append(job)
        if not running:
            break
        trial, rung = running.pop(order.randrange(len(running)))
        paper.rungs[rung][trial] = losses[trial][rung]
        (verdict,) = ours.decide([Report(trial, 10 * eta**rung, losses[trial][rung])])
        promoted = set()
        while (job := paper.get_job()) is not None:
            promoted.add(job)
        gained = {trial} if verdict is CONTINUE else set()
        for each in ours.promotable():
            ours.promote(each)
            gained.add(each)
        assert gained == {each for each, _ in promoted}
        waiting += sorted(promoted, key=lambda job: -job[1])
    assert ours.promotable() == []


@given(loss_lists)
def test_of_a_full_rung_a_quarter_goes_on_and_the_rest_pauses(losses):
    asha = pruner()
    verdicts = asha.decide(reports(50, losses))
    best = sorted(range(len(losses)), key=lambda trial: (losses[trial], trial))[: len(losses) // 4]
    assert {trial for trial, verdict in enumerate(verdicts) if verdict is CONTINUE} == set(best)
    assert set(verdicts) <= {CONTINUE, PAUSE}
    assert asha.promotable() == []


@given(loss_lists, st.randoms())
def test_lanes_in_one_message_are_judged_alike_in_any_order(losses, random):
    message = reports(50, losses)
    shuffled = random.sample(message, len(message))
    in_order = dict(zip([each.trial for each in message], pruner().decide(message), strict=True))
    assert dict(zip([each.trial for each in shuffled], pruner().decide(shuffled), strict=True)) == in_order


def test_a_paused_trial_is_promotable_when_the_rung_has_grown():
    asha = pruner()
    assert asha.decide(reports(50, [0.1, 0.2, 0.3])) == [PAUSE] * 3
    assert asha.promotable() == []
    assert asha.decide([Report(3, 50, 0.4)]) == [PAUSE]
    assert asha.promotable() == [0]
    asha.promote(0)
    assert asha.promotable() == []


def test_higher_rungs_are_promoted_first():
    asha = pruner()
    for trial, value in enumerate((0.1, 0.2, 0.3, 0.4)):
        assert asha.decide([Report(trial, 50, value)]) == [PAUSE]
    for trial, value in enumerate((0.5, 0.6, 0.7, 0.8), start=20):
        assert asha.decide([Report(trial, 200, value)]) == [PAUSE]
    assert asha.promotable() == [20, 0]


def test_the_last_step_stops_whatever_the_value():
    assert pruner().decide(reports(800, [9.0, 1.0])) == [STOP, STOP]


def test_a_report_sent_again_gets_its_verdict_again():
    asha = pruner()
    message = reports(50, [0.4, 0.3, 0.2, 0.1])
    first = asha.decide(message)
    assert first == [PAUSE, PAUSE, PAUSE, CONTINUE]
    assert asha.decide(message) == first
    assert asha.decide([Report(0, 50, 0.0)]) == [PAUSE]  # the first value stands


def test_a_trial_that_ended_is_not_promoted_but_still_counts():
    asha = pruner()
    asha.decide(reports(50, [0.1, 0.2, 0.3]))
    asha.end(0, succeeded=False)
    asha.decide([Report(3, 50, 0.4)])
    assert asha.promotable() == []
    asha.decide(reports(50, [0.5] * 4, first_trial=4))
    assert asha.promotable() == [1]


def test_a_step_between_rungs_counts_for_the_lower_one():
    asha = pruner()
    assert asha.decide(reports(30, [0.1, 0.2])) == [CONTINUE, CONTINUE]
    assert asha.decide(reports(60, [0.1, 0.2, 0.3, 0.4])) == [CONTINUE, PAUSE, PAUSE, PAUSE]
    assert asha.decide([Report(0, 70, 9.0)]) == [CONTINUE]


@given(
    values=st.lists(st.tuples(few_values, few_values, few_values), min_size=1, max_size=40),
    ended=st.sets(st.integers(0, 39)),
    goal=st.sampled_from(Goal),
)
def test_a_rebuilt_pruner_decides_as_the_one_that_saw_it_all(values, ended, goal):
    asha = pruner(goal=goal)
    history = {}
    standing = {}
    going_on = list(range(len(values)))
    for step, level in zip((50, 200, 800), range(3), strict=True):
        verdicts = asha.decide([Report(trial, step, values[trial][level]) for trial in going_on])
        for trial, verdict in zip(going_on, verdicts, strict=True):
            history[trial] = (*history.get(trial, ()), (step, values[trial][level]))
            standing[trial] = {PAUSE: Standing.PAUSED, STOP: Standing.SUCCEEDED, CONTINUE: Standing.OPEN}[verdict]
        going_on = [trial for trial, verdict in zip(going_on, verdicts, strict=True) if verdict is CONTINUE]
    for trial in ended & set(history):
        asha.end(trial, succeeded=False)
        standing[trial] = Standing.ENDED
    rebuilt = pruner([MeasuredTrial(trial, standing[trial], history[trial]) for trial in history], goal=goal)
    assert rebuilt.promotable() == asha.promotable()
    assert rebuilt.last_resort() == asha.last_resort()
    more = reports(50, [value for value, _, _ in values], first_trial=1000)
    assert rebuilt.decide(more) == asha.decide(more)
    assert rebuilt.promotable() == asha.promotable()


def test_a_study_too_small_for_its_rungs_still_trains_its_best_to_the_end():
    asha = pruner()
    asha.decide(reports(50, [0.3, 0.1, 0.2]))
    assert asha.promotable() == []
    for step in (200, 800):
        assert asha.last_resort() == 1
        asha.promote(1)
        (verdict,) = asha.decide([Report(1, step, 0.5)])
    assert verdict is STOP
    assert asha.last_resort() is None


def test_nothing_is_a_last_resort_when_nothing_waits():
    asha = pruner()
    assert asha.last_resort() is None
    asha.decide(reports(50, [0.3]))
    asha.end(0, succeeded=False)
    assert asha.last_resort() is None


def test_goals_mirror_each_other():
    losses = [0.4, 0.1, 0.3, 0.2, 0.7, 0.6, 0.5, 0.8]
    down = pruner().decide(reports(50, losses))
    up = pruner(goal=Goal.MAXIMIZE).decide(reports(50, [-loss for loss in losses]))
    assert down == up


def test_rungs_are_the_measured_steps():
    assert measured_steps(RULE, 800) == (50, 200, 800)
    assert measured_steps(RULE, 1000) == (50, 200, 800, 1000)
    assert measured_steps(RULE, 50) == (50,)
    assert measured_steps(AshaPruning(1, 2), 9) == (1, 2, 4, 8, 9)
