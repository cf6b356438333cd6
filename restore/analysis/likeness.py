"""Whether two pictures show the same scene, whatever moved and however it was exposed."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from restore.analysis.pictures import equalised
from restore.motion.flow import Effort, flow8

__all__ = ["unlike"]

_FINE: Final = 0.8
_COARSE: Final = 6.0


def unlike(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """How little of one picture is found in another, however far it moved.

    One is brought onto the other along dense optical flow. What is left is judged by correlation of
    what is finer than a fifteenth of the width, so that a common vignette or a bright sky does not
    make strangers alike.

    Args:
        a: ``[h, w]`` luma 0..1, about 100 px wide.
        b: the same size.

    Returns:
        0 for the same picture to 1 for unrelated ones (a little above 1 for negatives).
    """
    first, second = (equalised(_blurred(picture, _FINE)) for picture in (a, b))
    flow = flow8(first, second, Effort.FAST)
    rows, columns = np.mgrid[: first.shape[0], : first.shape[1]].astype(np.float32)
    found = cv2.remap(
        second,
        columns + flow[..., 0],
        rows + flow[..., 1],
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    x, y = (_detail(np.asarray(p, np.float32)) for p in (first, found))
    power = float((x * x).sum()) * float((y * y).sum())
    return 1.0 - float((x * y).sum()) / (float(np.sqrt(power)) + 1e-3)


def _detail(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    return picture - _blurred(picture, _COARSE)


def _blurred(picture: NDArray[np.float32], sigma_px: float) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma_px), np.float32)
