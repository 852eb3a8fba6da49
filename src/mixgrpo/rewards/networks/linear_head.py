"""Heads from their published weights, in float32."""

from torch import nn

from .weights import Weights


def linear_head(weights: Weights) -> nn.Sequential:
    """What the LAION aesthetic predictor and ImageReward have in common: five linear layers with no activation
    between them. The places in between were dropouts.
    """
    return nn.Sequential(*(linear(f"layers.{place}", weights) for place in (0, 2, 4, 6, 7)))


def linear(name: str, weights: Weights) -> nn.Linear:
    weight, bias = weights[f"{name}.weight"].float(), weights[f"{name}.bias"].float()
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.load_state_dict({"weight": weight, "bias": bias})
    return layer
