"""Adapters find their engines, shadow nothing else, and refuse what they do not know."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import nn
from torch.distributed.pipelining import schedules

from hydro.kit.errors import FailedPrecondition, InvalidArgument
from hydro.squeezer import attach
from hydro.squeezer.hooks.attachment import AttachSettings, find_engine
from hydro.squeezer.hooks.deepspeed_engine import DeepSpeedEngine
from hydro.squeezer.hooks.events import Activity


class Events:
    def __init__(self):
        self.told = []

    def step_begin(self, step):
        self.told.append("step")

    def step_end(self, step):
        self.told.append("end")

    def begin(self, activity, schedule_index):
        self.told.append(activity)

    def end(self, activity, schedule_index):
        pass

    def memory(self, measure):
        pass

    def schedule_changed(self):
        self.told.append("changed")


def instructions(*names):
    return [type(name, (), {}) for name in names]


ONE_F_ONE_B = ("LoadMicroBatch", "RecvActivation", "ForwardPass", "SendActivation", "RecvGrad", "BackwardPass",
               "SendGrad", "ReduceTiedGrads", "ReduceGrads", "OptimizerStep")  # fmt: skip


def engine_class(*names, norm=None):
    """An engine that runs its instructions as DeepSpeed's does: by a map of its class, bound to the instance."""
    ran = []

    def method(name):
        def run(self, **_):
            ran.append(name)
            if name == "OptimizerStep" and norm is not None:
                norm()

        return run

    commands = instructions(*names)

    class Engine:
        stage_id, num_stages, micro_batches, device = 1, 4, 8, "cpu"
        grid = SimpleNamespace(pp_group=[4, 5, 6, 7])
        _INSTRUCTION_MAP = {each: method(each.__name__) for each in commands}

        def _exec_schedule(self):
            for each in commands:
                self._INSTRUCTION_MAP[each](self)

        def train_batch(self):
            self._exec_schedule()
            return 0.5

        def reset_activation_shape(self):
            ran.append("reset")

    return Engine, ran


@pytest.fixture
def backend(monkeypatch):
    """What stands where DeepSpeed would, so that these tests need none."""

    class Backend:
        def all_reduce(self, tensor=None, async_op=False):
            return 7

    deepspeed, communication = ModuleType("deepspeed"), ModuleType("deepspeed.comm.comm")
    deepspeed.__version__ = "9.9.9"
    communication.cdb = Backend()
    monkeypatch.setitem(sys.modules, "deepspeed", deepspeed)
    monkeypatch.setitem(sys.modules, "deepspeed.comm", ModuleType("deepspeed.comm"))
    monkeypatch.setitem(sys.modules, "deepspeed.comm.comm", communication)
    return communication.cdb


def test_deepspeed_instructions_are_told_and_the_class_stays_as_it_is(backend):
    made, ran = engine_class(*ONE_F_ONE_B, norm=lambda: backend.all_reduce())
    engine, other, events = made(), made(), Events()
    adapter = DeepSpeedEngine(engine)
    assert (adapter.place.stage, adapter.place.stages, adapter.place.microbatches) == (1, 4, 8)
    assert (adapter.place.schedule, adapter.place.replica) == ("1F1B", 4)
    unshadow = adapter.shadow(events)
    assert engine.train_batch() == 0.5
    assert events.told == [
        "step", Activity.WAIT, Activity.FORWARD, Activity.SEND, Activity.WAIT, Activity.BACKWARD, Activity.SEND,
        Activity.OPTIMIZER, Activity.OPTIMIZER, Activity.OPTIMIZER, Activity.COLLECTIVE, "end",
    ]  # fmt: skip
    assert ran == list(ONE_F_ONE_B)
    events.told.clear()
    other.train_batch()
    assert events.told == []
    engine.reset_activation_shape()
    assert events.told == ["changed"]
    unshadow()
    events.told.clear()
    engine.train_batch()
    assert events.told == []
    assert vars(engine) == {}
    assert vars(backend) == {}


def test_collective_that_is_only_started_is_no_wait(backend):
    made, _ = engine_class(*ONE_F_ONE_B, norm=lambda: backend.all_reduce(async_op=True))
    engine, events = made(), Events()
    DeepSpeedEngine(engine).shadow(events)
    engine.train_batch()
    assert Activity.COLLECTIVE not in events.told


def test_in_dualpipev_the_commit_is_the_wait(backend):
    made, _ = engine_class(*ONE_F_ONE_B, "CommitP2P")
    engine, events = made(), Events()
    adapter = DeepSpeedEngine(engine)
    assert (adapter.place.schedule, adapter.place.chunks) == ("DualPipeV", 2)
    adapter.shadow(events)
    engine.train_batch()
    assert events.told.count(Activity.WAIT) == 1
    assert Activity.SEND not in events.told


@pytest.mark.parametrize(
    ("names", "why"),
    [
        ((*ONE_F_ONE_B, "OverlapPass"), "OverlapPass are new"),
        (("ForwardPass", "BackwardPass"), "no forward, backward, receives"),
    ],
)
def test_deepspeed_with_other_instructions_is_refused(backend, names, why):
    made, _ = engine_class(*names)
    with pytest.raises(FailedPrecondition, match=f"DeepSpeed 9.9.9 .*{why}"):
        DeepSpeedEngine(made())


def test_deepspeed_without_its_map_is_refused(backend):
    made, _ = engine_class(*ONE_F_ONE_B)
    del made._INSTRUCTION_MAP
    with pytest.raises(FailedPrecondition, match="_INSTRUCTION_MAP is missing"):
        DeepSpeedEngine(made())


def test_what_is_no_pipeline_engine_is_refused_by_its_name():
    with pytest.raises(InvalidArgument, match="Linear is no pipeline engine"):
        find_engine(nn.Linear(1, 1))


def test_without_squeezer_and_profile_the_engine_is_left_alone(monkeypatch):
    for name in ("HYDRO_SQUEEZER_ADDRESSES", "HYDRO_BUBBLES_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    engine = SimpleNamespace()
    attachment = attach(engine)
    assert not attachment.is_active
    assert vars(engine) == {}
    attachment.detach()


def test_each_local_rank_has_the_squeezer_of_its_gpu(monkeypatch):
    monkeypatch.setenv("HYDRO_SQUEEZER_ADDRESSES", "a:1, b:2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "Job_7")
    settings = AttachSettings.of(None, None, None)
    assert (settings.squeezer_address, settings.pipeline_run) == ("b:2", "job-7")
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(InvalidArgument, match="no entry for LOCAL_RANK 2"):
        AttachSettings.of(None, None, None)


def test_torch_pipelining_of_other_seams_is_refused(monkeypatch):
    from hydro.squeezer.hooks.torch_pipelining import TorchPipelining

    stage = SimpleNamespace(
        forward_one_chunk=None, backward_one_chunk=None, backward_weight_one_chunk=None, perform_reduce_grad=None
    )
    TorchPipelining(SimpleNamespace(_stage=stage))
    with pytest.raises(FailedPrecondition, match="forward_one_chunk"):
        TorchPipelining(SimpleNamespace(_stage=SimpleNamespace()))
    monkeypatch.delattr(schedules, "_wait_batch_p2p")
    with pytest.raises(
        FailedPrecondition, match=f"torch {torch.__version__.split('+')[0]}.*_wait_batch_p2p is missing"
    ):
        TorchPipelining(SimpleNamespace(_stage=stage))
