"""What stages with one picture-to-picture network share; not a stage itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor

from restore.backend import backend_version
from restore.engine.stage import StageSpec, Tiling
from restore.models.choose import choose_model
from restore.models.compiled_net import CompiledNet
from restore.models.graphs import KeptGraphs, default_folder
from restore.models.inductor_net import INDUCTOR
from restore.models.load import LoadedModel, load_model
from restore.models.openvino_net import PAYS_FOR, OpenVinoNet
from restore.models.place import placed
from restore.models.tensorrt_net import TENSORRT
from restore.stages import StageContext

__all__ = ["Network", "load_for"]


def load_for(
    role: str,
    named: str | None,
    context: StageContext,
    scale: int,
    blend: tuple[str | Path, float] | None = None,
) -> tuple[LoadedModel, str]:
    """The model that was named, or the one that the wanted quality gives a role.

    Returns:
        The model in float32 on the CPU, and a sentence on how it was chosen (empty if named).
    """
    if named is not None:
        return load_model(named, store=context.store, blend=blend), ""
    choice = choose_model(role, scale, context.store, context.quality, context.look)
    return load_model(choice.name, store=context.store, blend=blend), choice.reason


_COMPILERS = {"tensorrt": TENSORRT, "compile": INDUCTOR}


def _package(backend: str, architecture: str) -> str:
    """The package that shall compute an architecture; empty for torch."""
    if compiler := _COMPILERS.get(backend):
        return "" if architecture in compiler.leaves_out else compiler.package
    pays = backend == "auto" and architecture in PAYS_FOR
    return "openvino" if backend == "openvino" or pays else ""


_FOUND_LATER = "whether it can take the network is found at run time; torch computes where not"


class Network:
    """A network as a stage uses it: its facts as a spec, and its run on single-frame windows.

    Args:
        stage: the stage's name.
        model: as loaded, float32 on the CPU.
        note: how the model was chosen, for the report; may be empty.
        backend: as :func:`restore.backend.choose_backend` gave it; ``auto`` takes OpenVINO for the
            architectures that it is quicker for.
    """

    def __init__(
        self, stage: str, model: LoadedModel, note: str = "", backend: str = "torch"
    ) -> None:
        self._note = note
        self._exact = model
        self._quicker = _package(backend, model.architecture)
        self._compiled: OpenVinoNet | CompiledNet | None = None
        self._placed = model
        self.spec = StageSpec(
            name=stage,
            scale=Fraction(model.scale),
            halo_px=model.halo_px,
            multiple_of=model.multiple_of,
            minimum_px=max(1, model.minimum_px),
            tiling=Tiling(model.tiling),
            dtypes=tuple(getattr(torch, name) for name in model.dtypes),
            repeats=True,
        )

    def facts(self) -> Mapping[str, str]:
        """Name, hash, licence and attribution of everything that went in."""
        model = self._placed
        facts = {
            "model": model.name,
            "architecture": model.architecture,
            "sha256": "+".join(part.sha256 for part in model.parts),
            "licence": " + ".join(dict.fromkeys(part.licence for part in model.parts)),
        }
        credits_ = [part.attribution for part in model.parts if part.attribution]
        if credits_:
            facts["attribution"] = "; ".join(dict.fromkeys(credits_))
        if self._quicker:
            facts |= self._backend_facts()
        if self._note:
            facts["chosen"] = self._note
        if model.fused_blocks:
            facts["attention"] = f"fused in {model.fused_blocks} blocks"
        if model.kernels:
            facts["kernels"] = model.kernels
        if model.dtype_note:
            facts["precision note"] = model.dtype_note
        if model.tiling_reason:
            facts["tiling note"] = model.tiling_reason
        return facts

    def _backend_facts(self) -> Mapping[str, str]:
        """What computed; before the first frame, what will if it can."""
        used = self._compiled.used if self._compiled else ()
        if not used:
            return {"backend": backend_version(self._quicker), "backend note": _FOUND_LATER}
        said = {"backend": " and ".join(backend_version(name) for name in used)}
        if self._compiled and self._compiled.note:
            said["backend note"] = self._compiled.note
        return said

    def place(self, device: torch.device, dtype: torch.dtype) -> None:
        """Bring the network to a device; the exact weights stay behind for the next move."""
        self._placed = placed(self._exact, device, dtype)
        self._compiled = None
        if self._quicker == "openvino" and device.type == "cpu":
            folder = default_folder()
            kept = None if folder is None else KeptGraphs(folder, self._exact.identity)
            self._compiled = OpenVinoNet(self._exact.descriptor, self._placed.dtype, kept)
        for compiler in _COMPILERS.values():
            if self._quicker == compiler.package and device.type in compiler.devices:
                self._compiled = CompiledNet(
                    compiler,
                    self._exact.descriptor,
                    self._placed.descriptor,
                    self._placed.dtype,
                )

    def plain(self) -> Network:
        """The same network by torch alone, whose memory can be counted."""
        return Network(self.spec.name, self._exact)

    def run(self, windows: Tensor, seeds: Sequence[int]) -> Tensor:
        """``[N, 1, 3, h, w]`` to ``[N, 3, h * scale, w * scale]``; input clamped to 0..1."""
        return self._placed.by(self._compiled, windows[:, 0].clamp(0, 1))
