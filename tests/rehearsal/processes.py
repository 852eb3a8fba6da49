"""Under torchrun: how a process with an accelerator joins the others. Prints it as JSON."""

import json

import torch
import torch.distributed as dist

from mixgrpo.parallel import distributed
from mixgrpo.planning.stand_in import NAME, present

dist.Backend.register_backend(
    "stand_in_ccl", lambda store, rank, size, timeout: dist.ProcessGroupGloo(store, rank, size, timeout), devices=[NAME]
)
chosen: list[object] = []
torch.accelerator.set_device_index = lambda device: chosen.append(device)  # the stand-in itself has one device only

with present(), distributed.processes():
    group = dist.group.WORLD
    assert group is not None
    facts = {
        "own": str(distributed.device()),
        "chosen": chosen,
        "bound": str(group.bound_device_id),
        "backends": dist.get_backend_config(),
        "objects": distributed.gather("an object"),
    }
print(json.dumps(facts))
