"""Window attention of HAT and OmniSR without the table of scores in memory.

spandrel's forms write and read the scores of every window several times: product, bias, mask,
softmax, product. For a window of 16 x 16 px and 30 channels a head that table is 8.5 times the
picture's own features. ``scaled_dot_product_attention`` keeps it in the processor's cache. The
modules here take the weights of spandrel's as they are and compute the same, up to rounding.

Source: Chen et al., "Activating More Pixels in Image Super-Resolution Transformer", CVPR 2023;
Wang et al., "Omni Aggregation Networks for Lightweight Image Super-Resolution", CVPR 2023;
Dao et al., "FlashAttention", NeurIPS 2022.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import layer_norm, pad, scaled_dot_product_attention

from restore.kernels.windows import OUTSIDE, Borders, attend

__all__ = ["attend_by_kernel", "fuse_attention"]


def fuse_attention(model: nn.Module) -> int:
    """Replaces the attention blocks of a HAT or an OmniSR by their fused forms.

    Args:
        model: any network; changed in place. Names, shapes and values of its weights stay.

    Returns:
        How many blocks attend in the fused form now; 0 for any other network.
    """
    from spandrel.architectures.HAT import HAT
    from spandrel.architectures.OmniSR import OmniSR

    if isinstance(model, HAT):
        rooms: dict[str, Callable[[Any], nn.Module]] = {"HAB": _HybridBlock, "OCAB": _Overlapping}
    elif isinstance(model, OmniSR):
        rooms = {"Attention": _Grid, "LayerNorm2d": _ChannelNorm}
    else:
        return 0
    fused = 0
    for parent in list(model.modules()):
        for name, block in list(parent.named_children()):
            kind = type(block).__name__
            if kind in rooms:
                setattr(parent, name, rooms[kind](block).train(block.training))
                fused += kind != "LayerNorm2d"
    if isinstance(model, HAT):
        # The blocks know their borders: the mask for every window of the picture, made anew on
        # the CPU at each call, is 424 MB for a picture of 720 x 576 px.
        hat: Any = model
        hat.calculate_mask = _no_mask
    return fused


def attend_by_kernel(model: nn.Module, *, wanted: bool) -> int:
    """Lets the fused blocks of a network attend by our own kernel, or by torch's.

    Returns:
        How many blocks there are.
    """
    blocks = [m for m in model.modules() if isinstance(m, _HybridBlock | _Overlapping | _Grid)]
    for block in blocks:
        block.by_kernel = wanted
    return len(blocks)


def _no_mask(x_size: tuple[int, int], dtype: torch.dtype) -> Tensor:
    return torch.empty(0, dtype=dtype)


def _bias(table: Tensor, index: Tensor, queries: int) -> Tensor:
    """``[1, heads, queries, keys]`` of a table of relative positions ``[places, heads]``."""
    return table[index.reshape(-1)].view(queries, -1, table.shape[1]).permute(2, 0, 1)[None]


def _parted(x: Tensor, side_px: int) -> Tensor:
    """``[b, h, w, c]`` to windows ``[b, h / side, w / side, side * side, c]``."""
    b, h, w, c = x.shape
    x = x.view(b, h // side_px, side_px, w // side_px, side_px, c).transpose(2, 3)
    return x.reshape(b, h // side_px, w // side_px, side_px * side_px, c)


def _joined(windows: Tensor, side_px: int) -> Tensor:
    """The way back."""
    b, rows, columns, _, c = windows.shape
    x = windows.view(b, rows, columns, side_px, side_px, c).transpose(2, 3)
    return x.reshape(b, rows * side_px, columns * side_px, c)


def _attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, scale: float) -> Tensor:
    """Attention of ``[..., pixels, heads, channels]`` within each window; the same shape."""
    lead = q.shape[:-3]
    q, k, v = (t.flatten(0, -4).transpose(1, 2) for t in (q, k, v))
    out = _exactly(q, k, v, bias, scale).transpose(1, 2)
    return out.reshape(*lead, *out.shape[1:])


def _exactly(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float) -> Tensor:
    """torch's attention; of its forms for a GPU those for float32 keep ten bits of products."""
    if q.device.type == "cuda" and q.dtype == torch.float32:
        with sdpa_kernel(SDPBackend.MATH):
            return scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale)
    return scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale)


def _by_kernel(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor, scale: float, borders: Borders | None = None
) -> Tensor:
    """As ``_attend``, by the kernel."""
    windows = [t.flatten(0, -4) for t in (q, k, v)]
    return attend(windows[0], windows[1], windows[2], bias[0], scale, borders).view(q.shape)


class _HybridBlock(nn.Module):
    """HAT's hybrid attention block, called as spandrel calls it."""

    by_kernel = False

    def __init__(self, block: Any) -> None:  # noqa: ANN401
        super().__init__()
        self.side_px, self.shift_px = int(block.window_size), int(block.shift_size)
        self.conv_scale = float(block.conv_scale)
        self.norm1, self.attn = block.norm1, block.attn
        self.conv_block, self.norm2, self.mlp = block.conv_block, block.norm2, block.mlp

    def forward(self, x: Tensor, x_size: tuple[int, int], rpi_sa: Tensor, _mask: Tensor) -> Tensor:
        """``[b, h * w, c]`` to the same shape; ``rpi_sa`` numbers the relative positions."""
        (h, w), (b, pixels, c) = x_size, x.shape
        normed = self.norm1(x).view(b, h, w, c)
        # The permuted picture lies in memory as channels_last, which convolutions like best.
        near = self.conv_block(normed.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        if self.shift_px:
            normed = normed.roll((-self.shift_px, -self.shift_px), (1, 2))
        far = _joined(self._windows(_parted(normed, self.side_px), rpi_sa), self.side_px)
        if self.shift_px:
            far = far.roll((self.shift_px, self.shift_px), (1, 2))
        x = x + far.view(b, pixels, c) + near.reshape(b, pixels, c) * self.conv_scale
        out: Tensor = x + self.mlp(self.norm2(x))
        return out

    def _windows(self, x: Tensor, rpi_sa: Tensor) -> Tensor:
        attn, n = self.attn, x.shape[-2]
        q, k, v = attn.qkv(x).unflatten(-1, (3, attn.num_heads, -1)).unbind(-3)
        bias = _bias(attn.relative_position_bias_table, rpi_sa, n)
        if self.by_kernel:
            borders = self._borders(x) if self.shift_px else None
            by_kernel: Tensor = attn.proj(
                _by_kernel(q, k, v, bias, attn.scale, borders).flatten(-2)
            )
            return by_kernel
        # All windows in one go without a mask; those that hold two sides of the picture again.
        out = _attend(q, k, v, bias.contiguous(), attn.scale)
        if self.shift_px:
            rows, columns = x.shape[1], x.shape[2]
            for below in (False, True):
                for right in (False, True):
                    if not (below or right):
                        continue
                    place = (
                        slice(None),
                        slice(rows - 1, None) if below else slice(0, rows - 1),
                        slice(columns - 1, None) if right else slice(0, columns - 1),
                    )
                    if q[place].numel() == 0:
                        continue
                    masked = (bias + self._mask(below, right, bias)).contiguous()
                    out[place] = _attend(q[place], k[place], v[place], masked, attn.scale)
        mixed: Tensor = attn.proj(out.flatten(-2))
        return mixed

    def _mask(self, below: bool, right: bool, like: Tensor) -> Tensor:
        """``[pixels, pixels]``: 0 within a side of the picture, -100 from one to another."""
        part = self._part(below, right, like.device)
        return (part[:, None] != part).to(like.dtype) * OUTSIDE

    def _part(self, below: bool, right: bool, device: torch.device) -> Tensor:
        """``[pixels]``: which of the picture's sides each pixel of a window comes from."""
        late = torch.arange(self.side_px, device=device) >= self.side_px - self.shift_px
        part = 2 * (late & below)[:, None] + (late & right).to(torch.int64)
        return part.flatten()

    def _borders(self, x: Tensor) -> Borders:
        """Of windows ``[b, rows, columns, pixels, c]``: the last row and column hold two sides."""
        b, rows, columns = x.shape[:3]
        sides = [(below, right) for below in (False, True) for right in (False, True)]
        parts = torch.stack([self._part(*side, x.device) for side in sides])
        last_row = torch.arange(rows, device=x.device) == rows - 1
        last_column = torch.arange(columns, device=x.device) == columns - 1
        kinds = (2 * last_row[:, None] + last_column.to(torch.int64)).flatten().repeat(b)
        return Borders(parts.to(torch.int32), kinds.to(torch.int32))


class _Overlapping(nn.Module):
    """HAT's overlapping cross-attention: windows look at a larger window around them."""

    by_kernel = False

    def __init__(self, block: Any) -> None:  # noqa: ANN401
        super().__init__()
        self.side_px, self.around_px = int(block.window_size), int(block.overlap_win_size)
        self.num_heads, self.scale = int(block.num_heads), float(block.scale)
        self.relative_position_bias_table = block.relative_position_bias_table
        self.norm1, self.qkv, self.proj = block.norm1, block.qkv, block.proj
        self.norm2, self.mlp = block.norm2, block.mlp

    def forward(self, x: Tensor, x_size: tuple[int, int], rpi: Tensor) -> Tensor:
        """``[b, h * w, c]`` to the same shape; ``rpi`` numbers the relative positions."""
        (h, w), (b, pixels, c) = x_size, x.shape
        qkv = self.qkv(self.norm1(x).view(b, h, w, c))
        q = torch.unflatten(_parted(qkv[..., :c], self.side_px), -1, (self.num_heads, -1))
        edge = (self.around_px - self.side_px) // 2
        # Outside the picture keys and values are zeros, and take their part in the softmax.
        around = pad(qkv[..., c:], (0, 0, edge, edge, edge, edge))
        around = around.unfold(1, self.around_px, self.side_px)
        around = around.unfold(2, self.around_px, self.side_px).movedim(3, -1)
        k, v = torch.unflatten(around.flatten(3, 4), -1, (2, self.num_heads, -1)).unbind(-3)
        bias = _bias(self.relative_position_bias_table, rpi, self.side_px**2)
        form = _by_kernel if self.by_kernel else _attend
        out = form(q, k, v, bias.contiguous(), self.scale).flatten(-2)
        x = self.proj(_joined(out, self.side_px).view(b, pixels, c)) + x
        result: Tensor = x + self.mlp(self.norm2(x))
        return result


class _Grid(nn.Module):
    """OmniSR's attention within windows, of neighbours or of a grid over the picture."""

    by_kernel = False

    def __init__(self, block: Any) -> None:  # noqa: ANN401
        super().__init__()
        self.heads, self.scale, self.with_pe = block.heads, float(block.scale), block.with_pe
        self.to_qkv, self.to_out = block.to_qkv, block.to_out
        if self.with_pe:
            self.rel_pos_bias = block.rel_pos_bias
            self.register_buffer("rel_pos_indices", block.rel_pos_indices, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """``[b, rows, columns, w1, w2, c]`` to the same shape."""
        windows = x.flatten(3, 4)
        q, k, v = self.to_qkv(windows).unflatten(-1, (3, self.heads, -1)).unbind(-3)
        bias = None
        if self.with_pe:
            bias = self.rel_pos_bias(self.rel_pos_indices).permute(2, 0, 1)[None].contiguous()
        if self.by_kernel and bias is not None:
            by_kernel: Tensor = self.to_out(_by_kernel(q, k, v, bias, self.scale).flatten(-2))
            return by_kernel.view(x.shape)
        q, k, v = (t.flatten(0, 2).transpose(1, 2) for t in (q, k, v))
        out = _exactly(q, k, v, bias, self.scale)
        mixed: Tensor = self.to_out(out.transpose(1, 2).flatten(-2))
        return mixed.view(x.shape)


class _ChannelNorm(nn.Module):
    """OmniSR's norm over channels: one pass over memory where spandrel's takes seven."""

    def __init__(self, norm: Any) -> None:  # noqa: ANN401
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, float(norm.eps)

    def forward(self, x: Tensor) -> Tensor:
        """``[b, c, h, w]`` to the same shape, in channels_last."""
        last = x.permute(0, 2, 3, 1)
        normed = layer_norm(last, (x.shape[1],), self.weight, self.bias, self.eps)
        return normed.permute(0, 3, 1, 2)
