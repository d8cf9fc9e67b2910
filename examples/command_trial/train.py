"""Logistic regression on two blobs of points, in plain Python: a program that knows Hydro by three calls.

HYDRO_DRY_RUN='{"lr": 0.3, "l2": 0.001}' python train.py
"""

import json
import math
import random

from hydro.client import trial

EPOCHS = 20
STATE = trial.checkpoint_directory() / "state.json"


def points(count, seed):
    chance = random.Random(seed)
    for _ in range(count):
        label = chance.randrange(2)
        yield [chance.gauss(2 * label - 1, 1.5), chance.gauss(1 - 2 * label, 1.5), 1.0], label


def probability(weights, point):
    return 1 / (1 + math.exp(-sum(w * x for w, x in zip(weights, point, strict=True))))


def epoch(weights, data, lr, l2):
    for point, label in data:
        error = probability(weights, point) - label
        weights = [w - lr * (error * x + l2 * w) for w, x in zip(weights, point, strict=True)]
    return weights


def validation_loss(weights, data):
    likely = (probability(weights, point) if label else 1 - probability(weights, point) for point, label in data)
    return -sum(math.log(max(each, 1e-12)) for each in likely) / len(data)


def main():
    hp = trial.hyperparameters
    train, validation = list(points(400, trial.seed)), list(points(400, 10_000))
    # A trial that was paused goes on from where it stopped.
    state = json.loads(STATE.read_text()) if STATE.exists() else {"epoch": 0, "weights": [0.0, 0.0, 0.0]}
    weights = state["weights"]
    for number in range(state["epoch"] + 1, EPOCHS + 1):
        weights = epoch(weights, train, hp["lr"], hp["l2"])
        loss = validation_loss(weights, validation)
        print(f"epoch {number}: validation loss {loss:.4f}")
        goes_on = trial.report(number, loss)
        # After the report: a step that was not reported is trained, and reported, again.
        partial = STATE.with_suffix(".new")
        partial.write_text(json.dumps({"epoch": number, "weights": weights}))
        partial.replace(STATE)
        if not goes_on:
            return


if __name__ == "__main__":
    main()
