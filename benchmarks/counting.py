"""Operations and bytes of networks, counted from their own modules and not from a rule of thumb.

    python -m benchmarks.counting [--size 720x576] [--flow-size 2880x2304] [--out FILE.json]

A network runs on torch's meta device, where tensors have shapes but no numbers, and everything that
torch would start is counted: each tensor that it reads and each that it writes, weights too. Views
cost nothing. That is what a loop in eager mode moves when no cache helps. Operations are those of
torch's own counter, a multiply-add being two.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.anchors import ANCHORS
from benchmarks.machine import machine
from restore.models.fold import fold_span
from restore.models.nets.ifnet import IFNet
from restore.models.nets.ifnet_variants import VARIANTS

__all__ = ["Count", "Traffic", "counted"]

# Operations that move nothing although their schema does not call them views.
_FREE = {"_unsafe_view", "empty", "empty_like", "empty_strided", "new_empty", "lift_fresh"}
# Of these the tensor that is written over is not read before.
_OVERWRITES = {"copy_", "fill_", "zero_"}


@dataclass(frozen=True)
class Count:
    """What a network does for one picture.

    Attributes:
        network: its name.
        size: input, width x height px.
        number_format: of weights and features.
        operations: a multiply-add being two.
        bytes: read and written, operation by operation.
        most: kinds of operation that move most, with their bytes.
    """

    network: str
    size: str
    number_format: str
    operations: float
    bytes: int
    most: dict[str, int]


class Traffic(TorchDispatchMode):
    """Counts bytes of all operations while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.moved: Counter[str] = Counter()

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Do it, and add what it moves."""
        found = func(*args, **(kwargs or {}))
        name = func._schema.name.partition("::")[2]
        returns = [r.alias_info for r in func._schema.returns]
        is_view = any(alias is not None and not alias.is_write for alias in returns)
        if not (is_view or name in _FREE):
            read = tree_leaves((args[1:] if name in _OVERWRITES else args, kwargs))
            self.moved[name] += _bytes(read) + _bytes(tree_leaves(found))
        return found


def _bytes(leaves: list[Any]) -> int:
    return sum(
        leaf.numel() * leaf.element_size() if _is_dense(leaf) else _span(leaf)
        for leaf in leaves
        if isinstance(leaf, Tensor)
    )


def _is_dense(x: Tensor) -> bool:
    return 0 not in x.stride()


def _span(x: Tensor) -> int:
    """Of a tensor that repeats itself only what is there."""
    held = 1
    for many, step in zip(x.shape, x.stride(), strict=True):
        held *= many if step else 1
    return held * x.element_size()


def counted(
    name: str, call: Callable[[], object], size: tuple[int, int], form: torch.dtype
) -> Count:
    """Counts a call.

    Args:
        name: of the network.
        call: runs it on tensors of the meta device.
        size: height and width of its input, px.
        form: number format of its features.
    """
    # Not inference_mode: there operations that are made of others would be seen as one.
    with torch.no_grad(), Traffic() as traffic:
        call()
    with torch.inference_mode(), FlopCounterMode(display=False) as operations:
        call()
    return Count(
        name,
        f"{size[1]}x{size[0]}",
        str(form).removeprefix("torch."),
        float(operations.get_total_flops()),
        sum(traffic.moved.values()),
        dict(traffic.moved.most_common(4)),
    )


def _anchor(name: str, size: tuple[int, int], form: torch.dtype) -> Count:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.meshgrid's note on its own future
        net = ANCHORS[name].make().eval().requires_grad_(False)
        fold_span(net)
        net.to("meta", form)
        picture = torch.empty(1, 3, *size, dtype=form, device="meta")
        return counted(name, lambda: net(picture), size, form)


def _rife(size: tuple[int, int], form: torch.dtype) -> Count:
    """The published form: warps in float32, one new frame of a pair."""
    (variant,) = (each for each in VARIANTS if each.name == "4.25-4.26")
    with torch.device("meta"):
        net = IFNet(variant).eval().requires_grad_(False).to(form)
    multiple = variant.multiple_of()
    sides = [-(-side // multiple) * multiple for side in size]
    frame = torch.empty(1, 3, *sides, device="meta")
    return counted("rife-4.25", lambda: net.begin(frame, frame)(0.5), size, form)


def main() -> None:
    """Count, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", default="720x576", help="of the enlarging networks' input")
    parser.add_argument("--flow-size", default="2880x2304", help="of RIFE's frames")
    parser.add_argument("--formats", default="bfloat16,float32")
    parser.add_argument("--networks", default=",".join((*ANCHORS, "rife-4.25")))
    parser.add_argument("--out", type=Path, help="write the figures here too")
    asked = parser.parse_args()
    rows = []
    for form in (getattr(torch, name) for name in asked.formats.split(",")):
        for name in asked.networks.split(","):
            text = asked.flow_size if name == "rife-4.25" else asked.size
            width, height = map(int, text.split("x"))
            row = (
                _rife((height, width), form)
                if name == "rife-4.25"
                else _anchor(name, (height, width), form)
            )
            rows.append(row)
            most = ", ".join(f"{kind} {moved:.2g}" for kind, moved in row.most.items())
            print(
                f"{row.network:14} {row.size:10} {row.number_format:9} {row.operations:9.3g} "
                f"operations {row.bytes:9.3g} bytes  {most}",
                flush=True,
            )
    if asked.out:
        table = {"machine": machine(torch.device("cpu")), "rows": [asdict(row) for row in rows]}
        asked.out.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
