"""A reward that is a network: loaded at the first scoring, scored in batches, at rest off the device if asked."""

from collections.abc import Callable
from threading import Lock
from typing import Any, Literal, final

import torch
from PIL.Image import Image
from torch import nn

from mixgrpo.parallel import distributed

Dtype = Literal["float32", "float16", "bfloat16"]
RestOn = Literal["device", "cpu"]

# transformers changes global state while it loads.
_loading = Lock()


@final
class ModelReward:
    """One thread scores at a time: the network moves between devices, and a device serves one anyway.

    `load` takes the dtype of the network's body and gives a module whose forward scores images for their
    prompts: [N], in float32.
    """

    def __init__(
        self,
        name: str,
        load: Callable[[torch.dtype], nn.Module],
        *,
        device: str,
        dtype: Dtype,
        rest_on: RestOn,
        batch: int,
    ) -> None:
        if batch < 1:
            raise ValueError(f"rewards.{name}.batch = {batch}: must be at least 1, the images of one forward")
        self._load, self._batch = load, batch
        self._dtype: torch.dtype = getattr(torch, dtype)
        self.device = distributed.device() if device == "auto" else torch.device(device)
        self.rests_on = self.device if rest_on == "device" else torch.device("cpu")
        self._lock = Lock()
        self._network: nn.Module | None = None

    def __call__(self, images: list[Image], prompts: list[str], **metadata: Any) -> list[float]:
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
        """Bytes of weights; 0 before the first scoring."""
        return 0 if self._network is None else sum(p.numel() * p.element_size() for p in self._network.parameters())

    def _loaded(self) -> nn.Module:
        if self._network is None:
            with _loading:
                self._network = self._load(self._dtype).eval().requires_grad_(False)
        return self._network
