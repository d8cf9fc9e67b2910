"""A perceptron that ends its whole process for some hyperparameters, without a word."""

import os

from slow_perceptron import SlowPerceptron

DEADLY_LR = 0.9


class DeadlyPerceptron(SlowPerceptron):
    """Ends a worker where the learning rate is too large."""

    def optimizer(self, model, hp):
        if "HYDRO_WORKER_DEVICE" in os.environ and hp["lr"] > DEADLY_LR:
            os._exit(7)
        return super().optimizer(model, hp)
