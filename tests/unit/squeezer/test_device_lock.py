from __future__ import annotations

from pathlib import Path

import pytest

from hydro.kit.errors import FailedPrecondition
from hydro.squeezer.device_lock import DeviceLock


def test_one_squeezer_holds_a_device(tmp_path: Path) -> None:
    first = DeviceLock(tmp_path, "gpu-0")
    other = DeviceLock(tmp_path, "gpu-1")
    with pytest.raises(FailedPrecondition, match="another squeezer"):
        DeviceLock(tmp_path, "gpu-0")
    first.release()
    DeviceLock(tmp_path, "gpu-0").release()
    other.release()
