"""docs/study-file.md: every key of a study's file, from the table of keys and the functions that the file calls."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from docstrings import read

from hydro.client import Client, Command, InBubbles, population, stop_when, surrogate
from hydro.client.space_file import DOMAINS
from hydro.client.study_file import METRICS, PRUNERS
from hydro.client.study_keys import KEYS

_HEAD = """# The study file

Written from `hydro.client` by `make references`; a test holds it against the code. `hydro study create FILE` creates
the study that a YAML file describes, and is `client.create_study(...)` with the same names: what a key does in full is
in the page that it links to. A key that is not here is refused, with those that are.

```yaml
id: digits
task: digits:Digits
source_path: examples
search_space:
  lr: {loguniform: [1e-3, 1]}
  momentum: {uniform: [0.5, 0.99]}
  batch_size: {choice: [64, 128]}
objective: {minimize: validation_loss}
sampler: tpe
pruner: {asha: {min_steps: 50, max_steps: 800, eta: 4}}
surrogate: {width: 0.125}
trials: 64
parallelism: 32
stopping: {max_duration_seconds: 3600}
tags: {team: vision}
```"""
_WORDS = {
    "int": "whole number",
    "float": "number",
    "float | None": "number",
    "str": "text",
    "bool": "true or false",
    "Sequence[str]": "list of texts",
    "Mapping[str, str]": "mapping of texts to texts",
    "PatientRule | None": "`{RULE: {...}}`",
    "TimeableRule": "`{RULE: {...}}`",
    "Sequence[MetricsSource]": "list of [sources](#metrics)",
    "InBubbles | None": "[mapping](#in_bubbles)",
}
# `surrogate: {depth: 0.5}` says nothing of the width.
_WIDTH = {"width": "1.0"}


def page() -> str:
    """The page's text."""
    return "\n".join([_HEAD, *_keys(), *_domains(), *_sections()]) + "\n"


def _keys() -> Iterator[str]:
    arguments = inspect.signature(Client.create_study).parameters
    yield from ("", "## Keys", "", "| key | written as | default | |", "|---|---|---|---|")
    for name, key in KEYS.items():
        yield _row(f"`{name}`", key.form, _default(arguments[key.argument]), key.meaning)


def _domains() -> Iterator[str]:
    yield from ("", "## search_space", "", "Each name has a mapping with exactly one domain:", "")
    yield from ("| key | | |", "|---|---|---|")
    for name, domain in DOMAINS.items():
        yield _row(f"`{name}`", domain.form, read(domain.make).first)
    yield "\nand beside it, where wanted:\n\n| key | written as | default | |\n|---|---|---|---|"
    yield _row("`step`", "number", "", "Distance between neighbouring values, of `uniform` and `integer` alone.")
    yield _row("`when`", "`{PARENT: [value, ...]}`", "", "Active only where each parent has one of its values.")
    yield _row("`transfer`", "true or false", "`true`", "False if the surrogate's best value is not the target's.")
    yield "\nWhat they mean, side by side with Python: [the search space](search-space.md)."


def _sections() -> Iterator[str]:
    yield from ("", "## pruner", "", "A mapping with exactly one of these. Steps are optimizer steps.")
    yield "A `rule` inside `patience` and `by_time` is such a mapping again; what it leaves out of `interval_steps` and"
    yield "`max_steps` is as outside."
    for name, make in PRUNERS.items():
        yield from ("", f"### {name}", "", read(make).first, *_settings(make))
    yield from ("", "## population", "", read(population).first, *_settings(population))
    yield from ("", "## surrogate", "", read(surrogate).first, *_settings(surrogate, _WIDTH))
    yield from ("", "## stopping", "", read(stop_when).first, *_settings(stop_when))
    yield from ("", "## command", "", "A list is the `arguments` alone.", *_settings(Command))
    yield from ("", "### metrics", "", "A list of mappings with exactly one of these each;")
    yield "`{log_pattern: text}` and `{json_lines: text}` will do."
    for name, source in METRICS.items():
        yield from ("", f"#### {name}", "", read(source).first, *_settings(source))
    yield from ("", "### in_bubbles", "", read(InBubbles).first, *_settings(InBubbles))


def _settings(make: Callable[..., Any], defaults: Mapping[str, str] = {}) -> Iterator[str]:  # noqa: B006 - not changed
    meanings = read(make).arguments
    yield from ("", "| key | written as | default | |", "|---|---|---|---|")
    for name, each in inspect.signature(make).parameters.items():
        default = f"`{defaults[name]}`" if name in defaults else _default(each)
        yield _row(f"`{name}`", _WORDS[str(each.annotation)], default, meanings[name])


def _default(parameter: inspect.Parameter) -> str:
    value = parameter.default
    if value is inspect.Parameter.empty:
        return "required"
    if isinstance(value, bool):
        return f"`{value}`".lower()
    return f"`{value}`" if isinstance(value, (int, float, str)) and value != "" else ""


def _row(*cells: str) -> str:
    return "| " + " | ".join(each.replace("|", "\\|") for each in cells) + " |"
