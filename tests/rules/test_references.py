"""The references of the file, the command and the SDK are the code's: written anew, they are what stands in docs."""

import importlib.util
from pathlib import Path

import pytest

import hydro.client

ROOT = Path(__file__).parents[2]
WRITERS = ROOT / "clients" / "python" / "references"


@pytest.fixture
def written(monkeypatch):
    monkeypatch.syspath_prepend(str(WRITERS))
    spec = importlib.util.spec_from_file_location("write_references", WRITERS / "__main__.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_references_are_current(written):
    stale = [name for name, page in written.PAGES.items() if (written.DOCS / name).read_text() != page()]
    assert stale == [], "run `make references` (python clients/python/references)"


def test_every_public_name_is_in_the_reference_of_the_sdk(written):
    headings = (written.DOCS / "sdk.md").read_text().splitlines()
    assert [name for name in hydro.client.__all__ if headings.count(f"### {name}") != 1] == []


def test_every_row_of_the_references_says_something(written):
    """A key, an option or an argument without a word is one that nobody can use."""
    for name in ("command-line.md", "study-file.md"):
        rows = [line for line in (written.DOCS / name).read_text().splitlines() if line.startswith("| `")]
        assert rows and [row for row in rows if row.endswith("|  |")] == []


def test_every_link_of_the_references_leads_somewhere(written):
    for page in (*written.PAGES, "search-space.md", "watching.md"):
        text = (written.DOCS / page).read_text()
        targets = [each.split(")")[0] for each in text.split("](")[1:]]
        for target in targets:
            path, _, anchor = target.partition("#")
            if "://" in path:
                continue
            file = written.DOCS / path if path else written.DOCS / page
            assert file.exists(), (page, target)
            assert not anchor or anchor in anchors(file.read_text()), (page, target)


def anchors(text):
    """Of the headings, as GitHub makes them."""
    titles = [line.lstrip("#").strip().lower() for line in text.splitlines() if line.startswith("#")]
    return {"".join(each for each in title if each.isalnum() or each in " -_").replace(" ", "-") for title in titles}
