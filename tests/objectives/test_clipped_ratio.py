import math

import torch

from mixgrpo.objectives.ratio import clipped, gaussian_kl


def test_the_loss_by_hand() -> None:
    """Ratios 1, 1.2 and 0.8, clip range 0.1, with either sign of the advantage:

    A = 1:   -min(1, 1), -min(1.2, 1.1) clipped, -min(0.8, 0.9)
    A = -1:   max(1, 1),  max(1.2, 1.1),          max(0.8, 0.9) clipped
    """
    log_prob = torch.tensor([1.0, 1.2, 0.8]).log()
    up = clipped(log_prob, torch.ones(3), 0.1)
    down = clipped(log_prob, -torch.ones(3), 0.1)
    torch.testing.assert_close(up.value, torch.tensor([-1.0, -1.1, -0.8]))
    torch.testing.assert_close(down.value, torch.tensor([1.0, 1.2, 0.9]))
    torch.testing.assert_close(up.ratio, torch.tensor([1.0, 1.2, 0.8]))
    assert up.clipped.tolist() == [False, True, False]
    assert down.clipped.tolist() == [False, False, True]


def test_a_clipped_transition_has_no_gradient() -> None:
    log_prob = torch.tensor([1.2, 1.0]).log().requires_grad_()
    clipped(log_prob, torch.ones(2), 0.1).value.sum().backward()  # type: ignore[no-untyped-call]
    assert log_prob.grad is not None
    torch.testing.assert_close(log_prob.grad, torch.tensor([0.0, -1.0]))


def test_the_kl_against_torchs_own() -> None:
    mean, reference, std = torch.randn(4, 5, 3), torch.randn(4, 5, 3), 0.3
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(normal(mean, std), normal(reference, std)).mean((1, 2))
    torch.testing.assert_close(gaussian_kl(mean, reference, std), expected)
    assert math.isclose(gaussian_kl(mean, mean, std).sum().item(), 0)
