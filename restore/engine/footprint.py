"""How much memory a stage takes for each pixel, measured and not guessed."""

from __future__ import annotations

import weakref

import torch
from torch import Tensor

from restore.engine.stage import Stage
from restore.operations import Watch

__all__ = ["peak_bytes_per_px"]


class _LiveBytes(Watch):  # type: ignore[no-untyped-call]
    """Counts the bytes of tensors that are alive, as operations make them and Python drops them."""

    def __init__(self) -> None:
        super().__init__()
        self.live = 0
        self.peak = 0
        self._known: set[int] = set()

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.live -= size

    def seen(self, func: object, args: object, kwargs: object, result: object) -> None:
        for value in result if isinstance(result, tuple | list) else (result,):
            if not isinstance(value, Tensor):
                continue
            storage = value.untyped_storage()
            key: int = storage._cdata
            if key not in self._known:
                size = storage.nbytes()
                self._known.add(key)
                self.live += size
                self.peak = max(self.peak, self.live)
                weakref.finalize(storage, self._forget, key, size)


def peak_bytes_per_px(stage: Stage) -> int:
    """Peak memory of one run, in bytes for each input pixel of one window.

    Runs the stage, which must be placed on the CPU in float32, once on a small window of noise and
    counts live tensors. Input and result are counted too.
    """
    # What a stage computes outside torch cannot be counted; such a stage offers its twin in torch.
    stage = getattr(stage, "plain", lambda: stage)()
    spec = stage.spec
    side = max(64, spec.minimum_px)
    side = -(-side // spec.multiple_of) * spec.multiple_of
    generator = torch.Generator().manual_seed(0)
    windows = torch.rand(1, spec.window, 3, side, side, generator=generator)
    with _LiveBytes() as count, torch.inference_mode():
        stage.run(windows, [0])
    input_bytes = windows.numel() * windows.element_size()
    peak: int = count.peak + input_bytes
    return -(-peak // (side * side))
