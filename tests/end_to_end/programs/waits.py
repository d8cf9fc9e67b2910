"""Measures the same again and again until it is let go, by a file; where the file has a text, that is what is wrong."""

import os
import time
from pathlib import Path

SIGN = Path(os.environ["OWN_SIGN"])

step = 0
while not SIGN.exists():
    step += 1
    print(f"step {step} loss {os.environ['HP_X']}", flush=True)
    time.sleep(0.1)
if wrong := SIGN.read_text():
    raise SystemExit(wrong)
