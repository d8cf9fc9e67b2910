"""docs/deployment.md tells every setting of every process, and its default; compose.yaml sets none there is not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic.fields import FieldInfo

from hydro.client.suite.settings import SuiteSettings
from hydro.coordinator.settings import CoordinatorSettings
from hydro.kit.settings import Settings
from hydro.squeezer.settings import SqueezerProcessSettings
from hydro.tuner.settings import TunerSettings
from hydro.worker.settings import WorkerSettings

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "deployment.md").read_text()
ROW = re.compile(r"^\| `(HYDRO_[A-Z_]+)` \| (.+?) \|", re.MULTILINE)
SETTINGS: dict[str, type[Settings]] = {
    "Coordinator": CoordinatorSettings,
    "Tuner": TunerSettings,
    "Squeezer": SqueezerProcessSettings,
    "Worker": WorkerSettings,
    "`hydro up`": SuiteSettings,
}


def section(title: str) -> dict[str, str]:
    """The table below the title: variable to default, as they are written."""
    text = PAGE.split(f"### {title}\n")[1].split("\n### ")[0]
    return dict(ROW.findall(text))


def variables(settings: type[Settings]) -> dict[str, FieldInfo]:
    prefix = settings.model_config["env_prefix"]
    return {
        str(field.validation_alias or f"{prefix}{name.upper()}"): field for name, field in settings.model_fields.items()
    }


def has_plain_default(field: FieldInfo) -> bool:
    """Whether the default is a value that one could give, and not empty, computed or a rule."""
    return not field.is_required() and field.default_factory is None and field.default not in (None, "", ())


@pytest.mark.parametrize("title", SETTINGS)
def test_the_page_has_every_setting_and_no_other(title: str) -> None:
    assert section(title).keys() == variables(SETTINGS[title]).keys()


@pytest.mark.parametrize("title", SETTINGS)
def test_the_page_tells_the_defaults(title: str) -> None:
    fields = {name: field for name, field in variables(SETTINGS[title]).items() if has_plain_default(field)}
    told = section(title)
    assert {name: told[name] for name in fields} == {name: f"`{field.default}`" for name, field in fields.items()}


def test_every_variable_is_hydros_own() -> None:
    assert all(name.startswith("HYDRO_") for settings in SETTINGS.values() for name in variables(settings))


def test_compose_sets_no_variable_that_its_service_does_not_read() -> None:
    services: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"]
    unknown = {
        (title, name)
        for title, settings in SETTINGS.items()
        if title.lower() in services
        for name in services[title.lower()]["environment"]
        if name.startswith("HYDRO_") and name not in variables(settings)
    }
    assert not unknown


def test_the_page_tells_what_compose_can_be_told() -> None:
    asked = set(re.findall(r"\$\{([A-Z_]+)", (ROOT / "deploy" / "compose.yaml").read_text()))
    rows = [line.split("|")[1] for line in PAGE.split("## Task folders")[0].splitlines() if line.startswith("| `")]
    assert asked == {name for row in rows for name in re.findall(r"`([A-Z_]+)`", row)}
