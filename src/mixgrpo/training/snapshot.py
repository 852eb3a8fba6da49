"""All state of training as named tensors, out and back exactly: trained weights, their average, the optimizer.

Names are weight/NAME, average/NAME and optimizer/NAME/MOMENT. Every random draw and the window are functions of the
iteration, so there is no other state.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mixgrpo.parallel.sharding import local


@dataclass(frozen=True)
class Snapshot:
    iteration: int
    """Iterations done."""
    tensors: dict[str, Tensor]

    def copied(self) -> "Snapshot":
        """In the machine's memory, where training does not change it. Of what is sharded, this process's share."""
        return Snapshot(self.iteration, {name: tensor.to("cpu", copy=True) for name, tensor in self.tensors.items()})


def take_snapshot(
    iteration: int,
    parameters: dict[str, nn.Parameter],
    average: dict[str, Tensor],
    optimizer: torch.optim.Optimizer,
) -> Snapshot:
    tensors = {f"weight/{name}": parameter.detach() for name, parameter in parameters.items()}
    tensors |= {f"average/{name}": tensor for name, tensor in average.items()}
    for name, parameter in parameters.items():
        for key, value in optimizer.state[parameter].items():
            tensors[f"optimizer/{name}/{key}"] = value
    return Snapshot(iteration, tensors)


def restore(
    state: Snapshot,
    parameters: dict[str, nn.Parameter],
    average: dict[str, Tensor],
    optimizer: torch.optim.Optimizer,
) -> None:
    moments: dict[str, dict[str, Tensor]] = {name: {} for name in parameters}
    with torch.no_grad():
        for key, tensor in state.tensors.items():
            kind, _, name = key.partition("/")
            match kind:
                case "weight":
                    local(parameters[name]).copy_(local(tensor))
                case "average":
                    local(average[name]).copy_(local(tensor))
                case "optimizer":
                    name, _, moment = name.rpartition("/")
                    moments[name][moment] = tensor
    # The optimizer itself knows on which device it needs which: a fused one counts its steps on the accelerator.
    known = {number: moments[name] for number, name in enumerate(parameters) if moments[name]}
    optimizer.load_state_dict({**optimizer.state_dict(), "state": known})
