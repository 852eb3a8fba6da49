"""A reward that is a neural network: loaded at its first call, run in batches, optionally offloaded between calls.

This module imports torch only when a reward is created, so that a recipe's options can be checked without it.
"""

from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, TypedDict, final

from PIL.Image import Image

from mixgrpo.rewards.reward import Checkable

if TYPE_CHECKING:
    import torch
    from torch import nn

# One network loads at a time: transformers changes global state while it loads.
_loading = Lock()


class Placement(TypedDict, total=False):
    """The options shared by all network rewards."""

    device: str
    """`auto`: the device on which this process trains."""
    dtype: Literal["float32", "float16", "bfloat16"]
    rest_on: Literal["device", "cpu"]
    """Where the weights stay between calls."""
    batch: int
    """Images per forward pass."""


@final
class NetworkReward(Checkable):
    """Calls from several threads run one at a time: the network moves between devices, and concurrent calls would share
    one device anyway.

    `load` takes the dtype of the network's body. It returns a module whose forward pass takes images and prompts and
    returns their scores [N] in float32. `check` raises an error if
    something that it needs is missing.
    """

    def __init__(
        self,
        name: str,
        load: "Callable[[torch.dtype], nn.Module]",
        *,
        check: Callable[[], None] = lambda: None,
        device: str = "auto",
        dtype: Literal["float32", "float16", "bfloat16"] = "float32",
        rest_on: Literal["device", "cpu"] = "device",
        batch: int = 16,
    ) -> None:
        if batch < 1:
            raise ValueError(f"rewards.{name}.batch = {batch}: must be at least 1 (images per forward pass)")
        import torch

        from mixgrpo.parallel import distributed

        self._load, self._check, self._batch = load, check, batch
        self._dtype: torch.dtype = getattr(torch, dtype)
        self.device = distributed.device() if device == "auto" else torch.device(device)
        self.rests_on = self.device if rest_on == "device" else torch.device("cpu")
        self._lock = Lock()
        self._network: nn.Module | None = None

    def check(self) -> None:
        self._check()

    def __call__(self, images: list[Image], prompts: list[str], **metadata: Any) -> list[float]:
        import torch

        scores: list[float] = []
        with self._lock:
            network = self._loaded().to(self.device)
            try:
                with torch.inference_mode():
                    for i in range(0, len(images), self._batch):
                        scores += network(images[i : i + self._batch], prompts[i : i + self._batch]).tolist()
            finally:
                network.to(self.rests_on)
        return scores

    @property
    def memory(self) -> int:
        """Size of the weights in bytes; 0 before the first call."""
        return 0 if self._network is None else sum(p.numel() * p.element_size() for p in self._network.parameters())

    def _loaded(self) -> "nn.Module":
        if self._network is None:
            with _loading:
                self._network = self._load(self._dtype).eval().requires_grad_(False)
        return self._network
