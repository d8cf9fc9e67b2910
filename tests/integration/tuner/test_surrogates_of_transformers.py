"""Builds of tasks around a model of transformers: its configuration as the factory, and values to be fine-tuned."""

import json

import pytest

import zoo  # noqa: F401 - makes transformers importable beside a CPU torch
from hydro.kit.artifacts import read_artifact
from hydro.tuner.building.request import BuildRequest
from hydro.tuner.building.surrogate_build import build

TASK = """
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from hydro.tuner import config_factory
from hydro.tuner.task import TrainingTask

CONFIG = GPT2Config(n_layer=1, n_head=4, n_embd=32, n_positions=6, vocab_size=19, bos_token_id=1, eos_token_id=2)


class ByConfiguration(TrainingTask):
    defaults = {"lr": 1e-3}

    def model(self, hp):
        return GPT2LMHeadModel(CONFIG)

    def model_at_width(self, hp, width):
        return config_factory(self.model(hp))(width)

    def train_batches(self, hp, seed, start_step):
        step = start_step
        while True:
            yield torch.randint(3, 19, (2, 6), generator=torch.Generator().manual_seed(1000 * seed + step))
            step += 1

    def validation_batches(self, hp):
        return [torch.randint(3, 19, (2, 6), generator=torch.Generator().manual_seed(7))]

    def loss(self, model, batch, hp):
        return model(input_ids=batch, labels=batch, use_cache=False).loss

    def optimizer(self, model, hp):
        return torch.optim.AdamW(model.parameters(), lr=hp["lr"])


class FineTuned(ByConfiguration):
    pretrained = True
"""


@pytest.fixture
def request_for(tmp_path):
    (tmp_path / "transformers_task.py").write_text(TASK)

    def make(name):
        return BuildRequest(
            entry_point=f"transformers_task:{name}",
            source_path=str(tmp_path),
            width=1 / 2,
            values={"lr": (1e-4, 1e-2)},
            objective_metric="validation_loss",
            artifact_uri=tmp_path.as_uri(),
            artifact_path="surrogates/one",
            max_lanes=1,
        )

    return make


@pytest.mark.slow
def test_a_study_of_a_transformers_model_gets_the_shapes_of_its_configuration(request_for):
    result = build(request_for("ByConfiguration"))
    assert (result.failure, result.width, result.optimizer_family) == ("", 1 / 2, "AdamW")
    tensors = json.loads(read_artifact(result.artifact.uri, result.artifact.digest))["tensors"]
    shapes = {each["name"]: tuple(each["shape"]) for each in tensors}
    assert shapes["transformer.wte.weight"] == (19, 16)
    assert shapes["transformer.h.0.attn.c_attn.weight"] == (16, 48)


def test_a_study_of_a_model_to_be_fine_tuned_is_refused_with_what_to_do(request_for):
    result = build(request_for("FineTuned"))
    assert "declared pretrained" in result.failure and "tune the target itself" in result.failure
