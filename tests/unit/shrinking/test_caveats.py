import torch

from hydro.tuner.shrinking.caveats import caveats
from hydro.tuner.shrinking.classification import Classified, TensorClass
from hydro.tuner.shrinking.parametrization import Parametrization
from hydro.tuner.task import TrainingTask

SIXTEENTH = Parametrization({"w": Classified(TensorClass.HIDDEN, 1 / 16, 1 / 16)})


class ClipsElements(TrainingTask):
    gradient_clip_value = 0.5


def test_bounds_on_single_elements_of_gradients_do_not_transfer():
    (told,) = caveats(ClipsElements(), SIXTEENTH, torch.optim.SGD, {}, 100)
    assert "gradient_clip_value 0.5" in told and "use gradient_clip_norm" in told
    assert caveats(TrainingTask(), SIXTEENTH, torch.optim.SGD, {}, 100) == ()


def test_adafactors_bound_on_its_rate_is_told_where_training_reaches_it():
    # The hidden factor is the root of 16, so a rate of 0.025 acts as 0.1, which step 100 bounds.
    assert caveats(TrainingTask(), SIXTEENTH, torch.optim.Adafactor, {"lr": 0.025}, 99) == ()
    (told,) = caveats(TrainingTask(), SIXTEENTH, torch.optim.Adafactor, {"lr": 0.025}, 400)
    assert "lr up to 0.013 transfers over 400 steps" in told
