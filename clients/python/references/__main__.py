"""Writes docs/sdk.md, docs/command-line.md and docs/study-file.md from the code: `make references`."""

from __future__ import annotations

from pathlib import Path

import command_page
import sdk_page
import study_file_page

DOCS = Path(__file__).parents[3] / "docs"
PAGES = {"sdk.md": sdk_page.page, "command-line.md": command_page.page, "study-file.md": study_file_page.page}


def main() -> None:
    """Writes the pages."""
    for name, page in PAGES.items():
        (DOCS / name).write_text(page())


if __name__ == "__main__":
    main()
