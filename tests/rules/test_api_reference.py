"""The API reference is the contract's: written anew, it is what stands in docs."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_reference_is_current():
    spec = importlib.util.spec_from_file_location("write_reference", ROOT / "protos" / "write_reference.py")
    written = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(written)
    assert written.REFERENCE.read_text() == written.reference(), (
        "run `make api-reference` (python protos/write_reference.py)"
    )
