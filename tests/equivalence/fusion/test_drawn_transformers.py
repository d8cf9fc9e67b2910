"""Ten models of transformers that nobody chose: drawn by seed from all that it offers."""

import pytest

from zoo.comparison import compare, one_thread
from zoo.drawn_transformers import drawn

COUNT, SEED = 10, 1


@pytest.mark.slow
def test_nine_in_ten_drawn_models_fuse_and_equal_models_alone():
    models = drawn(COUNT, SEED)
    with one_thread():
        reasons = {model.name: compare(model).why_not for model in models}
    failed = {name: reason for name, reason in reasons.items() if reason}
    print("\n".join(f"not fused: {name}: {reason}" for name, reason in failed.items()))
    assert len(models) == COUNT
    assert len(failed) <= COUNT // 10, failed
