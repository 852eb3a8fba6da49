"""Online reinforcement learning for flow-matching text-to-image models, by mixed ODE-SDE sampling."""

__version__ = "0.1.0"
