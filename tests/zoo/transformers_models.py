"""Language models of transformers, from small configurations: nothing is downloaded. Dropout is on."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedConfig,
)

from zoo.drawn_transformers import in_order
from zoo.model import ZooModel

SAMPLES, LENGTH, SYMBOLS = 2, 6, 19

_SPECIAL = {"vocab_size": SYMBOLS, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
GPT2 = GPT2Config(n_layer=2, n_head=2, n_embd=8, n_positions=LENGTH, **_SPECIAL)
BERT = BertConfig(
    num_hidden_layers=2, num_attention_heads=2, hidden_size=8, intermediate_size=16, max_position_embeddings=LENGTH,
    num_labels=3, **_SPECIAL,
)  # fmt: skip
LLAMA = LlamaConfig(
    num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, hidden_size=16, intermediate_size=24,
    attention_dropout=0.1, max_position_embeddings=LENGTH, **_SPECIAL,
)  # fmt: skip

_WIDTHS = (
    "hidden_size", "n_embd", "intermediate_size", "num_attention_heads", "n_head", "num_key_value_heads",
)  # fmt: skip


def _text(generator: torch.Generator) -> dict[str, Tensor]:
    ids, mask = torch.randint(3, SYMBOLS, (SAMPLES, LENGTH), generator=generator), torch.ones(SAMPLES, LENGTH)
    mask[-1, -2:] = 0
    return {"input_ids": ids, "attention_mask": mask.long()}


def _predicted(generator: torch.Generator) -> dict[str, Tensor]:
    text = _text(generator)
    return {**text, "labels": text["input_ids"].masked_fill(text["attention_mask"] == 0, -100)}


def _classified(generator: torch.Generator) -> dict[str, Tensor]:
    return {**_text(generator), "labels": torch.randint(3, (SAMPLES,), generator=generator)}


def _zoo_model(name: str, model: Any, config: PreTrainedConfig, draw: Any, **changes: Any) -> ZooModel:
    def make(width: float = 1.0) -> nn.Module:
        given = {**config.to_dict(), **changes}
        wide = {key: round(given[key] * width) for key in _WIDTHS if given.get(key)}
        return model(type(config)(**{**given, **wide})).train()

    def inputs(generator: torch.Generator) -> tuple[Any, ...]:
        named: Mapping[str, Any] = draw(generator)
        return in_order(model, named)

    return ZooModel(name, make, inputs, make)


_gpt2 = partial(_zoo_model, model=GPT2LMHeadModel, config=GPT2, draw=_predicted)
_llama = partial(_zoo_model, model=LlamaForCausalLM, config=LLAMA, draw=_predicted)

TRANSFORMERS_MODELS = (
    _gpt2("GPT-2", use_cache=False),
    _gpt2("GPT-2 with its cache"),
    _gpt2("GPT-2, eager attention", use_cache=False, attn_implementation="eager"),
    _zoo_model("BERT", BertForMaskedLM, BERT, _predicted),
    _zoo_model("BERT classifier", BertForSequenceClassification, BERT, _classified),
    _llama("Llama", use_cache=False),
    _llama("Llama with its cache"),
)
"""With labels among their inputs, so that each gives its own loss."""
