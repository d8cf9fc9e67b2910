"""Prints what it was given, but for its token, and its metrics step by step."""

import os
import sys
import time

OURS = {name: value for name, value in sorted(os.environ.items()) if name.startswith(("HP_", "HYDRO_", "OWN_"))}

print("arguments", *sys.argv[1:])
print("variables", *os.environ)
print(f"a token of {len(OURS.pop('HYDRO_TRIAL_TOKEN'))} characters")
for name, value in OURS.items():
    print(f"{name}={value}")
for step in range(1, int(os.environ.get("OWN_STEPS", "2")) + 1):
    print(f"step {step} accuracy 0.5 loss {float(os.environ['HP_X']) / step}", flush=True)
time.sleep(float(os.environ.get("OWN_STAY_SECONDS", "0")))
