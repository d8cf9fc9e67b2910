"""Models of transformers drawn by seed from all that it offers for five tasks, at sizes that a test can train.

A configuration is the library's default with its sizes made small, by the names that sizes go by in the library; what
the constructor derives from them (the width of a head, the kinds of layers) it derives again.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CONFIG_MAPPING, PreTrainedConfig
from transformers.models.auto import modeling_auto

from zoo.model import ZooModel

SAMPLES, LENGTH, SYMBOLS, IMAGE_SIZE, CLASSES = 2, 12, 96, 32, 2
PADDING, END = 0, 2
LARGEST_PARAMETER_COUNT = 3_000_000

LAYER_COUNTS = (
    "num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers", "decoder_layers", "num_decoder_layers",
    "num_encoder_layers", "num_block_layers", "n_encoder_layers", "n_decoder_layers",
)  # fmt: skip
SIZES: Mapping[str, int] = {
    **dict.fromkeys(
        ("hidden_size", "d_model", "n_embd", "dim", "embed_dim", "embedding_size", "n_embed", "word_embed_proj_dim",
         "emb_dim", "lru_width", "attention_hidden_size", "model_dim", "encoder_hidden_size", "decoder_hidden_size"),
        32,
    ),
    **dict.fromkeys(
        ("intermediate_size", "ffn_dim", "encoder_ffn_dim", "decoder_ffn_dim", "d_ff", "n_inner", "hidden_dim",
         "dim_feedforward", "ffn_hidden_size", "shared_expert_intermediate_size", "moe_intermediate_size",
         "intermediate_size_mlp", "ffn_intermediate_size", "dim_ff", "d_inner"),
        48,
    ),
    **dict.fromkeys(LAYER_COUNTS, 2),
    **dict.fromkeys(
        ("num_attention_heads", "n_head", "n_heads", "encoder_attention_heads", "decoder_attention_heads", "num_heads",
         "num_kv_heads_for_all", "mamba_n_heads", "mamba_num_heads", "linear_num_value_heads"),
        4,
    ),
    **dict.fromkeys(("num_key_value_heads", "num_kv_heads", "multi_query_group_num", "linear_num_key_heads"), 2),
    **dict.fromkeys(
        ("head_dim", "attention_head_dim", "d_kv", "attention_head_size", "qk_nope_head_dim", "qk_rope_head_dim",
         "v_head_dim", "rotary_dim", "linear_key_head_dim", "linear_value_head_dim", "swa_head_dim", "global_head_dim",
         "qk_head_dim", "index_head_dim", "kda_head_dim"),
        8,
    ),
    **dict.fromkeys(("kv_lora_rank", "q_lora_rank", "time_step_rank", "o_lora_rank", "mamba_dt_rank"), 16),
    **dict.fromkeys(
        ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts", "num_experts_per_layer"), 4
    ),
    **dict.fromkeys(("mamba_d_head", "mamba_head_dim"), 16),
    **dict.fromkeys(("num_experts_per_tok", "moe_topk", "moe_k", "top_k_experts", "num_experts_per_token"), 2),
    **dict.fromkeys(("n_group", "topk_group", "n_shared_experts", "first_k_dense_replace"), 1),
    **dict.fromkeys(("state_size", "mamba_d_state", "ssm_state_size"), 8),
    **dict.fromkeys(
        ("max_position_embeddings", "n_positions", "max_target_positions", "max_source_positions", "n_ctx",
         "max_encoder_position_embeddings", "max_decoder_position_embeddings", "max_sequence_length", "max_seq_len"),
        64,
    ),
    "vocab_size": SYMBOLS,
    "vocab_size_per_layer_input": SYMBOLS,
    "hidden_size_per_layer_input": 8,
    "image_size": IMAGE_SIZE,
    "patch_size": 4,
    "num_labels": CLASSES,
}  # fmt: skip
LISTS: Mapping[str, int] = {
    "depths": 1, "num_blocks": 1, "layer_repeats": 1, "hidden_sizes": 16, "embed_dims": 16, "neck_hidden_sizes": 16,
    "out_channels": 16,
}  # fmt: skip
"""Of these, one number for each stage."""

Inputs = Callable[[PreTrainedConfig, torch.Generator], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Task:
    """What a family of models is trained to do."""

    mapping: Any
    inputs: Inputs


def token_ids(generator: torch.Generator) -> Tensor:
    """Symbols that are none of the special ones."""
    return torch.randint(8, SYMBOLS, (SAMPLES, LENGTH), generator=generator)


def language(config: PreTrainedConfig, generator: torch.Generator) -> dict[str, Any]:
    """Text whose every symbol is to be predicted; the last sample is shorter than the others."""
    ids, mask = token_ids(generator), torch.ones(SAMPLES, LENGTH, dtype=torch.long)
    mask[-1, -3:] = 0
    return {"input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(mask == 0, -100)}


def text_classes(config: PreTrainedConfig, generator: torch.Generator) -> dict[str, Any]:
    """Text of which each sample has a class."""
    text = language(config, generator)
    for ids, mask in zip(text["input_ids"], text["attention_mask"], strict=True):
        ids[mask.sum() - 1] = END
    return {**text, "labels": torch.randint(CLASSES, (SAMPLES,), generator=generator)}


def image_classes(config: PreTrainedConfig, generator: torch.Generator) -> dict[str, Any]:
    """Images with a class each."""
    size = getattr(config, "image_size", IMAGE_SIZE)
    sizes = tuple(size) if isinstance(size, list | tuple) else (size, size)
    channels = getattr(config, "num_channels", 3)
    images = torch.randn(SAMPLES, channels, *sizes, generator=generator, dtype=torch.float64)
    return {"pixel_values": images, "labels": torch.randint(CLASSES, (SAMPLES,), generator=generator)}


TASKS: Mapping[str, Task] = {
    "causal-lm": Task(modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING, language),
    "masked-lm": Task(modeling_auto.MODEL_FOR_MASKED_LM_MAPPING, language),
    "sequence-to-sequence": Task(modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING, language),
    "text-classes": Task(modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, text_classes),
    "image-classes": Task(modeling_auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING, image_classes),
}


def drawn(count: int, seed: int) -> list[ZooModel]:
    """Draws models that run alone at a small size; prints which, and which did not run and why.

    Args:
        count: How many.
        seed: Of the draw: the same seed gives the same models.
    """
    models: list[ZooModel] = []
    for model in candidates(seed):
        if len(models) == count:
            break
        reason = why_not_alone(model)
        print(f"drawn: {model.name}" if not reason else f"drawn again, for {model.name} does not run alone: {reason}")
        models += [] if reason else [model]
    return models


def candidates(seed: int) -> Iterator[ZooModel]:
    """Every (task, architecture) in an order drawn by seed."""
    offered = [(task, name) for task in TASKS for name in sorted(TASKS[task].mapping._model_mapping)]
    for task, name in random.Random(seed).sample(offered, len(offered)):
        yield ZooModel(f"{name}, {task}", partial(make, task, name), partial(inputs, task, name))


def make(task: str, name: str) -> nn.Module:
    """Builds a small model with new weights, in train mode."""
    model = model_class(task, name)
    return model(small_config(model.config_class)).train()


def inputs(task: str, name: str, generator: torch.Generator) -> tuple[Any, ...]:
    """Draws the task's batch, in the order of the model's own arguments."""
    model = model_class(task, name)
    return in_order(model, TASKS[task].inputs(small_config(model.config_class), generator))


def model_class(task: str, name: str) -> type[nn.Module]:
    """Gives the library's class for a task."""
    found = TASKS[task].mapping[CONFIG_MAPPING[name]]
    return found[0] if isinstance(found, tuple) else found


def in_order(model: type[nn.Module], named: Mapping[str, Any]) -> tuple[Any, ...]:
    """Puts named arguments at their places in `forward`; what lies between keeps its default, what it lacks is left."""
    parameters = list(inspect.signature(model.forward).parameters.values())[1:]
    last = max(index for index, each in enumerate(parameters) if each.name in named)
    return tuple(named.get(each.name, each.default) for each in parameters[: last + 1])


def small_config(config: type[PreTrainedConfig]) -> PreTrainedConfig:
    """Gives a configuration of this class with every size made small, or all but the number of layers.

    Experts are computed by products of gathered weights: the library's default for them takes no float64.
    """
    sizes = small_sizes(config)
    try:
        small = config(**sizes)
    except ValueError:
        small = config(**{key: value for key, value in sizes.items() if key not in LAYER_COUNTS})
    small._experts_implementation = "batched_mm"
    return small


def small_sizes(config: type[PreTrainedConfig]) -> dict[str, Any]:
    """Gives the arguments that make a configuration small."""
    default = config()
    sizes = {key: small for key, value in vars(default).items() if (small := _small(key, value)) is not None}
    for key, part in config.sub_configs.items():
        if isinstance(part, type) and issubclass(part, PreTrainedConfig) and part is not PreTrainedConfig:
            sizes[key] = small_sizes(part)
    return {**sizes, "use_cache": False}


def _small(key: str, value: Any) -> Any:
    if key == "pad_token_id":
        return value if value is not None and 0 <= value < 8 else PADDING
    if key.endswith("_token_id"):
        return None if value is None else [END] if isinstance(value, list) else value if 0 <= value < 8 else END
    if isinstance(value, list | tuple) and key in LISTS:
        return type(value)([LISTS[key]] * len(value))
    if isinstance(value, list | tuple) and key in SIZES:
        return type(value)([SIZES[key]] * len(value))
    return SIZES.get(key) if isinstance(value, int) and not isinstance(value, bool) else None


def why_not_alone(model: ZooModel) -> str:
    """Says why a model cannot take a training step by itself at this size, "" if it can."""
    try:
        given = model.inputs(torch.Generator().manual_seed(0))
        with torch.device("meta"):
            count = sum(parameter.numel() for parameter in model.make().parameters())
        if count > LARGEST_PARAMETER_COUNT:
            return f"{count:,} parameters"
        torch.manual_seed(0)
        loss = model.make().double()(*given).loss
        loss.backward()
    except Exception as error:  # noqa: BLE001 - whatever the library raises for a configuration of these sizes
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"[:200]
    return "" if loss.isfinite() else "its loss is not finite"
