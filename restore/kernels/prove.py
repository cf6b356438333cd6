"""The child that kernels are proven in.

    python -m restore.kernels.prove PROOF DEVICE DTYPE LIMIT_S

Prints ``began`` once the device answers, and what is wrong as JSON at the end. However it ends,
only this process does.
"""

from __future__ import annotations

import importlib
import json
import math
import resource
import signal
import sys


def main(proof: str, device: str, dtype: str, limit_s: str) -> None:
    """Run one proof.

    Args:
        proof: ``module:function``.
        device: such as ``cuda:0``.
        dtype: such as ``bfloat16``.
        limit_s: after which it ends itself, should whoever started it be gone.
    """
    signal.alarm(math.ceil(float(limit_s)) + 1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    import torch

    where = torch.device(device)
    torch.zeros(1, device=where).cpu()
    module, _, name = proof.partition(":")
    hold = getattr(importlib.import_module(module), name)
    sys.stdout.write("began\n")
    sys.stdout.flush()
    trouble = hold(where, getattr(torch, dtype))
    if where.type == "cuda":
        torch.cuda.synchronize(where)
    sys.stdout.write(json.dumps({"trouble": trouble}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
