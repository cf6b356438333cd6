"""RIFE 4's IFNet a second time, straight from its description and driven by the tensors' names.

Nothing is shared with ``restore.models.nets``: resizing is done by matrices, warping by gathering
four pixels, pixel shuffling by reshaping, and what a form is like is read from the tensors.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

FORMS_FILE = Path(__file__).with_name("rife_forms.txt")


def read_forms() -> dict[str, dict[str, tuple[int, ...]]]:
    """Tensor names and shapes of each published form, ``{0-7}`` standing for eight names."""
    forms: dict[str, dict[str, tuple[int, ...]]] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for line in FORMS_FILE.read_text("utf-8").splitlines():
        if line.startswith("# "):
            shapes = forms.setdefault(line[2:], {})
            continue
        name, *numbers = line.split()
        head, found, tail = name.partition("{0-7}")
        for each in [f"{head}{n}{tail}" for n in range(8)] if found else [name]:
            shapes[each] = tuple(map(int, numbers))
    return forms


def random_state(shapes: dict[str, tuple[int, ...]], reach: float, seed: int) -> dict[str, Tensor]:
    """Weights such that flows reach some ``reach`` px."""
    source = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes.items():
        fan_in = max(1, torch.Size(shape[1:]).numel())
        drawn = torch.randn(shape, generator=source) * (2.0 / fan_in) ** 0.5
        if name.endswith("beta"):
            drawn = 0.3 * drawn + 0.5
        elif len(shape) == 1:
            drawn = 0.05 * drawn + (0.0 if name.endswith("bias") else 0.25)
        if "lastconv" in name:
            drawn = drawn * reach
        state[name] = drawn
    return state


def _matrix(size: int, factor: float) -> Tensor:
    """Linear interpolation with half-pixel centres, ``[round(size * factor), size]``."""
    count = round(size * factor)
    places = ((torch.arange(count) + 0.5) / factor - 0.5).clamp(min=0)
    low = places.floor().long().clamp(max=size - 1)
    high = (low + 1).clamp(max=size - 1)
    share = places - low
    rows = torch.arange(count)
    matrix = torch.zeros(count, size)
    matrix[rows, low] += 1 - share
    matrix[rows, high] += share
    return matrix


def resize(x: Tensor, factor: float) -> Tensor:
    return _matrix(x.shape[2], factor) @ x @ _matrix(x.shape[3], factor).T


def fetch(picture: Tensor, flow: Tensor) -> Tensor:
    """``out(p) = picture(p + flow(p))`` for one picture, the border's pixels repeated."""
    _, channels, height, width = picture.shape
    x = (torch.arange(width) + flow[0, 0]).clamp(0, width - 1)
    y = (torch.arange(height)[:, None] + flow[0, 1]).clamp(0, height - 1)
    left, top = x.floor().long(), y.floor().long()
    right, below = (left + 1).clamp(max=width - 1), (top + 1).clamp(max=height - 1)
    flat = picture.view(channels, -1)

    def at(row: Tensor, column: Tensor) -> Tensor:
        return flat[:, (row * width + column).view(-1)].view(channels, height, width)

    across, down = x - left, y - top
    upper = at(top, left) * (1 - across) + at(top, right) * across
    lower = at(below, left) * (1 - across) + at(below, right) * across
    return (upper * (1 - down) + lower * down)[None]


class Reference:
    """One form with its weights, for single pictures of suitable sizes."""

    def __init__(self, state: dict[str, Tensor], scales: tuple[float, ...]) -> None:
        self.state, self.scales = state, scales
        self.restarted = False

    def _act(self, x: Tensor, unit: str) -> Tensor:
        slopes = self.state.get(f"{unit}.1.weight")
        slope = torch.tensor(0.2) if slopes is None else slopes.view(1, -1, 1, 1)
        return torch.where(x >= 0, x, slope * x)

    def _conv(self, x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = self.state[f"{name}.weight"]
        groups = x.shape[1] // weight.shape[1]
        return F.conv2d(x, weight, self.state[f"{name}.bias"], stride, 1, groups=groups)

    def _wider(self, x: Tensor, name: str) -> Tensor:
        weight, bias = self.state[f"{name}.weight"], self.state[f"{name}.bias"]
        return F.conv_transpose2d(x, weight, bias, 2, 1)

    def features(self, frame: Tensor) -> list[Tensor]:
        names = [f"encode.cnn{n}" for n in range(4)]
        if "encode.cnn0.weight" not in self.state:
            names = sorted({k[: k.rindex(".")] for k in self.state if k.startswith("encode.")})
        if not names:
            return []
        has_slopes = len(names) == 4
        for place, name in enumerate(names[:-1]):
            frame = self._conv(frame, name, 1 if place else 2)
            frame = torch.where(frame >= 0, frame, 0.2 * frame) if has_slopes else frame
        return [self._wider(frame, names[-1])]

    def block(self, n: int, parts: list[Tensor], flow: Tensor | None, scale: float) -> Tensor:
        x = resize(torch.cat(parts, 1), 1 / scale)
        if flow is not None:
            x = torch.cat([x, resize(flow, 1 / scale) / scale], 1)
        for unit in (f"block{n}.conv0.0", f"block{n}.conv0.1"):
            x = self._act(self._conv(x, f"{unit}.0", 2), unit)
        entered = x
        for layer in range(8):
            unit = f"block{n}.convblock.{layer}"
            if f"{unit}.beta" in self.state:
                x = self._conv(x, f"{unit}.conv") * self.state[f"{unit}.beta"] + x
            else:
                x = self._conv(x, f"{unit}.0")
            x = self._act(x, unit)
        if f"block{n}.convblock.0.1.weight" in self.state:
            x = x + entered
        if f"block{n}.lastconv.weight" in self.state:
            out, factor = self._wider(x, f"block{n}.lastconv"), 2 * scale
        else:
            out, factor = self._wider(x, f"block{n}.lastconv.0"), scale
            channels, height, width = out.shape[1] // 4, *out.shape[2:]
            out = out.view(channels, 2, 2, height, width).permute(0, 3, 1, 4, 2)
            out = out.reshape(1, channels, 2 * height, 2 * width)
        out = resize(out, factor)
        return torch.cat([out[:, :4] * factor, out[:, 4:]], 1)

    def frame(self, first: Tensor, second: Tensor, time: float, ensemble: bool = False) -> Tensor:
        """The frame at a time; ``restarted`` says whether large motion made it begin again."""
        ends = self.features(first), self.features(second)
        when = torch.full_like(first[:, :1], time)
        shuffled = self.state.get("block0.lastconv.0.weight")
        hands_on = shuffled is not None and shuffled.shape[1] == 4 * (4 + 1 + 8)

        def swap(flow: Tensor) -> Tensor:
            return flow[:, [2, 3, 0, 1]]

        def run(n: int, flow: Tensor | None, mask: list[Tensor], extra: list[Tensor]) -> Tensor:
            seen = [first, second, *ends[0], *ends[1]]
            if flow is not None:
                near, far = flow[:, :2], flow[:, 2:]
                seen = [fetch(first, near), fetch(second, far)]
                seen += [fetch(e, near) for e in ends[0]] + [fetch(e, far) for e in ends[1]]
            out = self.block(n, [*seen, when, *mask, *extra], flow, scales[n])
            if ensemble and not alone:
                half = len(seen) // 2
                turned = [seen[i] for pair in range(half) for i in (2 * pair + 1, 2 * pair)]
                back = self.block(
                    n,
                    [*turned, 1 - when, *(-m for m in mask)],
                    None if flow is None else swap(flow),
                    scales[n],
                )
                out = torch.cat([out[:, :4] + swap(back), out[:, 4:5] - back[:, 4:5]], 1) / 2
            return out

        scales, alone = list(self.scales), False
        count = len({k.split(".")[0] for k in self.state if k.startswith("block")})
        out = run(0, None, [], [])
        flow, mask, extra = out[:, :4], out[:, 4:5], [out[:, 5:]] if hands_on else []
        adds = not ends[0]
        if "block0.conv0.0.1.weight" in self.state:
            alone = True
            step = run(1, flow, [mask], [])[:, :4]
            if step[:, :2].abs().max() > 32 and step[:, 2:].abs().max() > 32:
                self.restarted = True
                scales = [2 * s for s in scales]
                out = run(0, None, [], [])
                flow, mask = out[:, :4], out[:, 4:5]
            alone = False
        for n in range(1, count):
            out = run(n, flow, [mask], extra)
            flow = flow + out[:, :4]
            mask = mask + out[:, 4:5] if adds else out[:, 4:5]
            extra = [out[:, 5:]] if hands_on else []
        share = 1 / (1 + torch.exp(-mask))
        return fetch(first, flow[:, :2]) * share + fetch(second, flow[:, 2:]) * (1 - share)
