"""Muon: momentum whose every matrix is made orthogonal before it is taken as the step.

K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024; the step is
scaled as in J. Liu et al., "Muon is scalable for LLM training", 2025, so that rates that suit Adam
suit it too. A convolution's weight is taken as the matrix of output channels by taps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import torch

__all__ = ["Muon", "orthogonal"]

# The quintic whose iteration drives singular values towards 1 fastest, and how often it is done.
QUINTIC: Final = (3.4445, -4.7750, 2.0315)
ITERATIONS: Final = 5
ADAM_RMS: Final = 0.2  # what Adam's steps measure, relative to the rate


def orthogonal(matrices: torch.Tensor) -> torch.Tensor:
    """The nearest matrices with singular values of about 1 (0.7 .. 1.2), by Newton and Schulz.

    Args:
        matrices: ``[N, rows, columns]`` float32, rows <= columns; none of them all zero.

    Returns:
        The same shape.
    """
    a, b, c = QUINTIC
    x: torch.Tensor = matrices / (matrices.flatten(1).norm(dim=1)[:, None, None] + 1e-12)
    for _ in range(ITERATIONS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x


class Muon(torch.optim.Optimizer):
    """The optimiser for weights ``[out, in, h, w]`` whose rows do not outnumber their columns.

    Args:
        weights: those of inner convolutions; biases and first layers are left to Adam.
        lr: the rate, of Adam's kind.
        momentum: decay of the mean gradient, taken as Nesterov does.
    """

    def __init__(
        self, weights: Iterable[torch.nn.Parameter], lr: float, momentum: float = 0.95
    ) -> None:
        super().__init__(weights, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """One step; weights of one shape are done together."""
        if closure is not None:
            raise ValueError("Muon takes no closure")
        for group in self.param_groups:
            alike: dict[torch.Size, list[torch.nn.Parameter]] = {}
            for weight in group["params"]:
                if weight.grad is not None:
                    alike.setdefault(weight.shape, []).append(weight)
            for shape, weights in alike.items():
                steps = orthogonal(torch.stack([self._mean(w, group["momentum"]) for w in weights]))
                matrix = steps.shape[1:]
                size = group["lr"] * ADAM_RMS * max(matrix) ** 0.5
                for weight, direction in zip(weights, steps, strict=True):
                    weight.sub_(direction.reshape(shape), alpha=size)

    def _mean(self, weight: torch.nn.Parameter, momentum: float) -> torch.Tensor:
        gradient = weight.grad
        assert gradient is not None  # noqa: S101  looked at by the caller
        state = self.state[weight]
        if "mean" not in state:
            state["mean"] = torch.zeros_like(weight)
        mean = state["mean"].lerp_(gradient, 1.0 - momentum)
        return gradient.lerp(mean, momentum).flatten(1).contiguous()
