"""Twenty steps of fused lanes against separate models in plain PyTorch, in float64."""

import copy
import importlib.util
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hydro import optim
from hydro.tuner.fusion.lanes import LaneTensors
from hydro.tuner.fusion.lower import lower
from hydro.tuner.fusion.report import Tier
from hydro.tuner.task import TrainingTask
from hydro.tuner.tracing import LossModule, MetricsModule, trace

STEPS = 20
TOLERANCE = 1e-10
EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def load_example(name):
    specification = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def digits_task():
    return load_example("digits").Digits(), {"batch_size": 16, "channels": 16}


def character_task():
    module = load_example("char_lm")
    module.HEADS, module.CONTEXT = 2, 8
    return module.CharacterLanguageModel(), {"batch_size": 4, "width": 16}


class Perceptron(TrainingTask):
    defaults = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.0}

    def model(self, hp):
        return nn.Sequential(
            nn.Linear(8, 16), nn.ReLU(), nn.BatchNorm1d(16), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3)
        )

    def train_batches(self, hp, seed, start_step):
        step = start_step
        while True:
            generator = torch.Generator().manual_seed(seed * 1000 + step)
            yield torch.randn(12, 8, generator=generator), torch.randint(3, (12,), generator=generator)
            step += 1

    def loss(self, model, batch, hp):
        return F.cross_entropy(model(batch[0]), batch[1])

    def optimizer(self, model, hp):
        return torch.optim.SGD(
            model.parameters(), lr=hp["lr"], momentum=hp["momentum"], weight_decay=hp["weight_decay"]
        )

    def metrics(self, model, batch, hp):
        return {"accuracy": (model(batch[0]).argmax(1) == batch[1]).float().mean()}


def perceptron_task():
    return Perceptron(), {}


CASES = {
    "digits": (
        digits_task,
        [{"lr": 0.05, "momentum": 0.5 + 0.1 * lane, "weight_decay": 0.01 * lane} for lane in range(4)],
    ),
    "characters": (
        character_task,
        [{"lr": 0.003 * (lane + 1), "dropout": p, "beta1": 0.8} for lane, p in enumerate((0.0, 0.1, 0.3, 0.1))],
    ),
    "perceptron": (perceptron_task, [{"lr": 0.1, "momentum": 0.2 * lane} for lane in range(4)]),
}


def double(batch):
    return tuple(part.double() if part.is_floating_point() else part for part in batch)


class Run:
    """One lane, alone: the reference, and what a fused lane is made from."""

    def __init__(self, task, hp, seed):
        self.task, self.hp = task, hp
        torch.manual_seed(seed)
        self.module = LossModule(task, task.model(hp).double(), hp).train()
        self.initial = copy.deepcopy(self.module)
        self.optimizer = task.optimizer(self.module.model, hp)
        self.generator = torch.Generator().manual_seed(100 + seed)
        self.random_state = self.generator.get_state()

    def options(self):
        names = {id(parameter): name for name, parameter in self.module.named_parameters()}
        groups = self.optimizer.param_groups
        return {
            names[id(parameter)]: {key: value for key, value in group.items() if key != "params"}
            for group in groups
            for parameter in group["params"]
        }

    def train(self, batches):
        torch.set_rng_state(self.random_state)
        losses = []
        for batch in batches:
            loss = self.module(batch)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            losses.append(loss.item())
        self.random_state = torch.get_rng_state()
        return losses


def make_runs(case, lanes=4):
    make, per_lane = CASES[case]
    task, changes = make()
    return task, [Run(task, {**task.defaults, **changes, **own}, seed) for seed, own in enumerate(per_lane[:lanes])]


def make_batches(task, hp, count, start=0):
    stream = task.train_batches(hp, 0, start)
    return [double(next(stream)) for _ in range(count)]


class Bundle:
    """The same lanes fused."""

    def __init__(self, runs, batch):
        self.runs = list(runs)
        self.tensors = LaneTensors([run.initial for run in runs])
        self.generators = [torch.Generator().manual_seed(100) for _ in runs]
        for generator, run in zip(self.generators, runs, strict=True):
            generator.set_state(run.random_state)
        self.optimizer = optim.build_optimizer(
            type(runs[0].optimizer), self.tensors.parameters, [run.options() for run in runs]
        )
        self.batch = batch
        self.program = self.lowered()

    def lowered(self):
        return lower([trace(run.initial, (self.batch,), train=True) for run in self.runs])

    def step(self, batch, lane_inputs=False):
        losses = self.program(
            self.tensors.parameters, self.tensors.buffers, (batch,), lane_inputs=lane_inputs, generators=self.generators
        )
        losses.sum().backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return losses.tolist()

    def take(self, indices):
        self.runs = [self.runs[index] for index in indices]
        self.generators = [self.generators[index] for index in indices]
        self.tensors.take(indices)
        self.optimizer.take(indices)
        self.program = self.lowered()

    def insert(self, run, state, optimizer_state, generator):
        self.runs.append(run)
        self.generators.append(generator)
        self.tensors.append([state])
        self.optimizer.append(optimizer_state, run.options())
        self.program = self.lowered()


def assert_same_state(bundle, runs):
    for lane, run in enumerate(runs):
        for name, tensor in bundle.tensors.state_dict(lane).items():
            expected = run.module.state_dict()[name]
            assert torch.allclose(tensor, expected, rtol=0, atol=TOLERANCE), (lane, name)


@pytest.mark.parametrize("case", CASES)
def test_twenty_fused_steps_equal_separate_models(case):
    task, runs = make_runs(case)
    batches = make_batches(task, runs[0].hp, STEPS)
    bundle = Bundle(runs, batches[0])
    fused = [bundle.step(batch) for batch in batches]
    for lane, run in enumerate(runs):
        assert [row[lane] for row in fused] == pytest.approx(run.train(batches), rel=0, abs=TOLERANCE)
    assert_same_state(bundle, runs)
    assert {run.tier for run in bundle.program.report.runs} <= {Tier.SHARED, Tier.GROUPED}


@pytest.mark.parametrize("case", CASES)
def test_lanes_with_batches_of_their_own_equal_separate_models(case):
    task, runs = make_runs(case, lanes=3)
    streams = [make_batches(task, runs[0].hp, 5, start=10 * lane) for lane in range(3)]
    bundle = Bundle(runs, streams[0][0])
    for parts in zip(*streams, strict=True):
        bundle.step(tuple(torch.stack(each) for each in zip(*parts, strict=True)), lane_inputs=True)
    for run, batches in zip(runs, streams, strict=True):
        run.train(batches)
    assert_same_state(bundle, runs)


@pytest.mark.parametrize("case", CASES)
def test_metrics_equal_those_of_separate_models(case):
    task, runs = make_runs(case)
    batches = make_batches(task, runs[0].hp, 3)
    bundle = Bundle(runs, batches[0])
    for batch in batches:
        bundle.step(batch)
    for run in runs:
        run.train(batches)
    modules = [MetricsModule(task, run.module.model, run.hp).eval() for run in runs]
    program = lower([trace(modules[0], (batches[0],), train=False)])
    fused = program(bundle.tensors.parameters, bundle.tensors.buffers, (batches[0],))
    for lane, module in enumerate(modules):
        for name, value in module(batches[0]).items():
            assert fused[name][lane].item() == pytest.approx(value.item(), rel=0, abs=TOLERANCE), name


@pytest.mark.parametrize("case", CASES)
def test_lanes_leave_and_join_in_mid_run_without_disturbing_any(case):
    task, runs = make_runs(case)
    batches = make_batches(task, runs[0].hp, STEPS)
    bundle = Bundle(runs, batches[0])
    for batch in batches[: STEPS // 2]:
        bundle.step(batch)
    left = (bundle.tensors.state_dict(0), bundle.optimizer.lane_state(0), bundle.generators[0])
    bundle.take([3, 1])
    bundle.insert(runs[0], *left)
    for batch in batches[STEPS // 2 :]:
        bundle.step(batch)
    for run in runs:
        run.train(batches)
    assert_same_state(bundle, [runs[3], runs[1], runs[0]])


@pytest.mark.parametrize("case", CASES)
def test_nan_in_one_lane_leaves_the_bits_of_the_others(case):
    task, runs = make_runs(case)
    batches = make_batches(task, runs[0].hp, 4)
    clean, poisoned = Bundle(runs, batches[0]), Bundle(runs, batches[0])
    with torch.no_grad():
        for parameter in poisoned.tensors.parameters.values():
            parameter[2] = torch.nan
    for batch in batches:
        clean.step(batch)
        poisoned.step(batch)
    for lane in (0, 1, 3):
        for name, tensor in clean.tensors.state_dict(lane).items():
            assert torch.equal(tensor, poisoned.tensors.state_dict(lane)[name]), (lane, name)


@pytest.mark.parametrize("optimizer_type", [torch.optim.RMSprop, torch.optim.NAdam])
def test_an_optimizer_without_twin_trains_lanes_as_separate_models(optimizer_type):
    class Task(Perceptron):
        def optimizer(self, model, hp):
            return optimizer_type(model.parameters(), lr=0.1 * hp["lr"])

    task = Task()
    runs = [Run(task, {**task.defaults, "lr": 0.1 * (lane + 1)}, lane) for lane in range(3)]
    batches = make_batches(task, runs[0].hp, STEPS)
    bundle = Bundle(runs, batches[0])
    for batch in batches:
        bundle.step(batch)
    for run in runs:
        run.train(batches)
    assert_same_state(bundle, runs)
