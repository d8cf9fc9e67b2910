"""Cross entropy over lanes is that of each lane alone, its gradient too."""

import pytest
import torch
from torch.nn import functional as plain

from hydro.nn import functional as grouped


def lanes(classes, *samples):
    torch.manual_seed(0)
    logits = torch.randn(3, samples[0], classes, *samples[1:], dtype=torch.float64)
    return logits, torch.randint(classes, (3, *samples))


def both(logits, target, **given):
    """Values and gradients, grouped and alone."""
    given = {"reduction": "mean", "ignore_index": -100, "label_smoothing": 0.0} | given
    torch.manual_seed(1)
    weights = torch.randn_like(target, dtype=logits.dtype)
    results = []
    for is_grouped in (True, False):
        own = logits.clone().requires_grad_()
        if is_grouped:
            losses = grouped.cross_entropy(own, target, *given.values())
        else:
            losses = torch.stack([plain.cross_entropy(a, b, **given) for a, b in zip(own, target, strict=True)])
        (losses * weights.flatten()[: losses.numel()].view(losses.shape)).sum().backward()
        results.append((losses.detach(), own.grad))
    return zip(*results, strict=True)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("classes", [5, 40])
@pytest.mark.parametrize("samples", [(7,), (4, 3)])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_each_lane_has_the_loss_and_gradient_of_plain_pytorch(classes, samples, reduction, smoothing):
    logits, target = lanes(classes, *samples)
    target[0].view(-1)[:2] = 2
    for ours, theirs in both(logits, target, reduction=reduction, ignore_index=2, label_smoothing=smoothing):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("classes", [5, 40])
def test_a_target_that_lanes_share_is_not_copied_and_gives_the_same(classes):
    logits, target = lanes(classes, 6)
    shared = target[0].expand(3, 6)
    for ours, theirs in both(logits, shared, ignore_index=int(target[0, 0])):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("classes", [5, 40])
def test_logits_that_are_not_a_number_leave_the_other_lanes_bits_alone(classes):
    logits, target = lanes(classes, 6)
    clean = [each[0][1:] for each in both(logits, target)]
    logits[0] = torch.nan
    for alone, beside in zip(clean, (each[0][1:] for each in both(logits, target)), strict=True):
        assert torch.equal(alone, beside)


def test_a_lane_without_any_sample_that_counts_has_no_mean_and_no_gradient():
    logits, target = lanes(5, 4)
    target[1] = -100
    (loss, _), (gradient, _) = both(logits, target)
    assert loss[1].isnan() and not loss[[0, 2]].isnan().any()
    assert gradient[1].eq(0).all()


def test_many_rows_of_many_classes_go_in_pieces_and_give_the_same():
    logits, target = lanes(3000, 100)
    target[2, ::7] = -100
    for ours, theirs in both(logits, target):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def test_a_class_that_does_not_exist_is_refused():
    logits, target = lanes(5, 4)
    target[1, 2] = 9
    with pytest.raises(IndexError, match="out of bounds"):
        grouped.cross_entropy(logits, target, "mean", -100, 0.0)
