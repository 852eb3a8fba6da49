"""One command in several processes."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from mixgrpo.parallel import distributed
from mixgrpo.parallel.local import company


@contextmanager
def together(processes: int) -> Iterator[None]:
    """Start the other processes, then load what takes seconds to import: so all of them load it at the same time."""
    with company(processes):
        quiet_libraries()
        with distributed.processes():
            yield


def quiet_libraries() -> None:
    """Import the libraries, which takes seconds. No progress bars for what takes a second, and no warnings about what
    is as it should be.
    """
    # What torchao says wherever it is installed, used or not: kernels that are for other machines, and the like.
    for name in ("torchao", "torch.utils._pytree", "diffusers.quantizers.torchao.torchao_quantizer"):
        logging.getLogger(name).setLevel(logging.ERROR)
    import diffusers
    import transformers

    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    for handler in logging.getLogger("transformers").handlers:
        handler.addFilter(lambda record: "requires torchvision" not in record.getMessage())
    warnings.filterwarnings("ignore", "Mismatch dtype between input and weight")  # float32 weights under autocast
    warnings.filterwarnings("ignore", "Dynamo detected a call to a `functools.lru_cache`")  # diffusers' version checks
