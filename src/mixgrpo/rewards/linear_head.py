"""The head that the LAION aesthetic predictor and ImageReward have in common: five linear layers, no activation
between them, dropout only in training.
"""

from torch import nn

from .weights import Weights

_LAYERS = (0, 2, 4, 6, 7)  # their places in the published nn.Sequential, dropouts in between


def linear_head(weights: Weights) -> nn.Sequential:
    """From the published names `layers.<place>.weight` and `.bias`, in float32."""
    layers = []
    for place in _LAYERS:
        weight, bias = weights[f"layers.{place}.weight"].float(), weights[f"layers.{place}.bias"].float()
        layer = nn.Linear(weight.shape[1], weight.shape[0])
        layer.load_state_dict({"weight": weight, "bias": bias})
        layers.append(layer)
    return nn.Sequential(*layers)
