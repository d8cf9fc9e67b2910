"""A perceptron that refuses some hyperparameters, and measures what others are worth and what they take."""

import torch
from slow_perceptron import SlowPerceptron

HIGHEST_LR = 0.9


class PricedPerceptron(SlowPerceptron):
    """`reach` and `waste` are nothing but measured: a lane's own numbers in a graph that all lanes share."""

    defaults = {**SlowPerceptron.defaults, "reach": 0.5, "waste": 0.0}

    def optimizer(self, model, hp):
        if hp["lr"] > HIGHEST_LR:
            raise ValueError(f"lr is {hp['lr']}: give {HIGHEST_LR} or less")
        return super().optimizer(model, hp)

    def metrics(self, model, batch, hp):
        zero = torch.zeros(())
        return {
            "price": zero + (hp["reach"] + hp["waste"]),
            "gain": zero + (hp["reach"] - hp["waste"]),
            "memory": zero + 100 * hp["reach"],
        }
