"""Sees the operations that torch carries out, and counts their arithmetic."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

__all__ = ["Flops", "Watch"]


class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While entered, hands every operation to :meth:`seen` after it was carried out."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # What torch puts around __torch_dispatch__ otherwise imports its compiler at the first
        # operation: two seconds at the start of every job, and nothing is compiled here.
        return False

    def seen(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:  # noqa: ANN401
        """Takes note of one operation.

        Args:
            func: the overload, ``torch.ops.aten.add.Tensor`` for one.
            args: what it was given.
            kwargs: what it was given by name.
            result: what came out.
        """
        raise NotImplementedError

    def apart(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> object:  # noqa: ANN401
        """The operation carried out by its parts, which are seen instead; none here."""
        return NotImplemented

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401
        types: Collection[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        """Carries the operation out and hands it on."""
        named = kwargs or {}
        parts = self.apart(func, args, named)
        if parts is not NotImplemented:
            return parts
        result = func(*args, **named)
        self.seen(func, args, named, result)
        return result


class Flops(Watch):  # type: ignore[no-untyped-call]
    """Adds up multiplications and additions, by torch's own formulas.

    Attributes:
        total: so far; a multiplication with its addition are two.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def seen(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:  # noqa: ANN401
        """Adds the operation's; those without a formula count nothing."""
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.total += int(formula(*args, **kwargs, out_val=result))

    def apart(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> object:  # noqa: ANN401
        """An operation without a formula, where it is made of others."""
        if func._overloadpacket in flop_registry:
            return NotImplemented
        with self:
            return func.decompose(*args, **kwargs)
