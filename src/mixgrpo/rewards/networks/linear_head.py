"""Score heads built from their published weights, in float32."""

from torch import nn

from .weights import Weights


def linear_head(weights: Weights) -> nn.Sequential:
    """The head that the LAION aesthetic predictor and ImageReward share: five linear layers without activations. The
    missing indices were dropout layers.
    """
    return nn.Sequential(*(linear(f"layers.{index}", weights) for index in (0, 2, 4, 6, 7)))


def linear(name: str, weights: Weights) -> nn.Linear:
    weight, bias = weights[f"{name}.weight"].float(), weights[f"{name}.bias"].float()
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.load_state_dict({"weight": weight, "bias": bias})
    return layer
