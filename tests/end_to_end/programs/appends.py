"""Appends its metrics to a file of JSON lines in the directory that it starts in."""

import json
import os
from pathlib import Path

with Path("metrics.jsonl").open("a") as file:
    for step in (1, 2):
        file.write(json.dumps({"step": step, "accuracy": 0.5, "loss": float(os.environ["HP_X"]) / step}) + "\n")
print("appended 2 lines")
