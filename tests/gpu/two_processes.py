"""Under torchrun: two iterations on a device of its own, then a digest of the weights of every process."""

import torch
from gpu_trainers import trainer_on

from mixgrpo.parallel import distributed

with distributed.processes():
    trainer = trainer_on(distributed.device())
    for _ in range(2):
        trainer.iterate()
    parameters = trainer.policy.weights.parameters.values()
    digests = distributed.gather(torch.cat([parameter.detach().flatten() for parameter in parameters]).cpu())
    assert all(torch.equal(digests[0], other) for other in digests[1:])
    assert str(next(iter(parameters)).device) == f"cuda:{torch.cuda.current_device()}"
