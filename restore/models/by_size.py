"""What computes a network where it is made for an input size: that of the last few sizes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["BySize"]

_KEPT: Final = 3


class BySize:
    """Keeps what was made for the last three sizes.

    Args:
        by_torch: what is kept where nothing was made for a size.
        package: that makes the others.

    Attributes:
        used: names of what has computed so far, ``torch`` and the package.
    """

    def __init__(self, by_torch: Callable[[Tensor], Tensor], package: str) -> None:
        self._by_torch, self._package = by_torch, package
        self._kept: OrderedDict[tuple[int, ...], Callable[[Tensor], Tensor]] = OrderedDict()
        self.used: tuple[str, ...] = ()

    def of(
        self, size: tuple[int, ...], make: Callable[[], Callable[[Tensor], Tensor]]
    ) -> Callable[[Tensor], Tensor]:
        """What computes inputs of a size.

        Args:
            size: everything that it is made for.
            make: makes it, where it is not kept.
        """
        if size not in self._kept:
            made = make()
            name = "torch" if made is self._by_torch else self._package
            self.used = tuple(dict.fromkeys((*self.used, name)))
            self._kept[size] = made
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(size)
        return self._kept[size]
