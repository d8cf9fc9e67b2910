"""Every fault of the table has a test that is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "docs" / "reliability.md"
ROWS = [line for line in TABLE.read_text().splitlines() if line.startswith("| ")][1:]


def found(path):
    return [folder / path for folder in (ROOT / "tests" / "end_to_end", ROOT / "tests") if (folder / path).exists()]


def test_every_row_names_what_proves_it():
    assert len(ROWS) > 30
    for row in ROWS:
        tests = re.findall(r"`([\w/]+(?:\.\w+)?)`", row.split("|")[3])
        assert tests, row
        assert [each for each in tests if not found(each)] == [], row


def test_every_file_of_faults_has_a_row():
    table = TABLE.read_text()
    for folder in ("driven", "faults"):
        for path in (ROOT / "tests" / "end_to_end" / folder).glob("test_*.py"):
            assert path.name in table, f"{path.name} proves something that no row promises"
