"""Prints two metrics that pull apart, both worse by what is wasted, and what it would take."""

import os

x, waste = float(os.environ["HP_X"]), float(os.environ["HP_WASTE"])
print(f"memory={100 * x}")
print(f"accuracy={x - waste}")
print(f"loss={x + waste}")
