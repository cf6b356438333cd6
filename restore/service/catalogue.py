"""CatalogService: models, presets, stages and devices of this server."""

from __future__ import annotations

import inspect
import json
import platform

import grpc
import torch

from restore.engine.device import memory_budget_bytes
from restore.models.store import ModelStore
from restore.recipe import load_preset, preset_names
from restore.service.v1 import catalog_pb2 as pb
from restore.service.v1 import catalog_pb2_grpc as rpc
from restore.stages import STAGES, stage_class

__all__ = ["Catalogue"]


class Catalogue(rpc.CatalogServiceServicer):
    """The servicer; it answers from what is on the machine now."""

    def ListModels(
        self, request: pb.ListModelsRequest, context: grpc.ServicerContext
    ) -> pb.ListModelsResponse:
        """Every model that the catalogue knows."""
        store = ModelStore()
        return pb.ListModelsResponse(
            models=[
                pb.Model(
                    name=entry.name,
                    role=entry.role,
                    architecture=entry.architecture,
                    scale=entry.scale,
                    licence=entry.licence,
                    attribution=entry.attribution,
                    sha256=entry.published.sha256,
                    is_present=store.has(entry.name),
                )
                for entry in store.catalog
            ]
        )

    def ListPresets(
        self, request: pb.ListPresetsRequest, context: grpc.ServicerContext
    ) -> pb.ListPresetsResponse:
        """Every preset."""
        presets = [(name, load_preset(name)) for name in preset_names()]
        return pb.ListPresetsResponse(
            presets=[
                pb.Preset(
                    name=name,
                    description=recipe.description,
                    stages=[step.stage for step in recipe.steps],
                )
                for name, recipe in presets
            ]
        )

    def ListStages(
        self, request: pb.ListStagesRequest, context: grpc.ServicerContext
    ) -> pb.ListStagesResponse:
        """Every stage with the schema of its settings."""
        found = [(name, stage_class(name)) for name in sorted(STAGES)]
        return pb.ListStagesResponse(
            stages=[
                pb.Stage(
                    name=name,
                    summary=(inspect.getdoc(kind) or "").partition("\n")[0],
                    settings_schema=json.dumps(kind.Settings.model_json_schema(), sort_keys=True),
                )
                for name, kind in found
            ]
        )

    def ListDevices(
        self, request: pb.ListDevicesRequest, context: grpc.ServicerContext
    ) -> pb.ListDevicesResponse:
        """The CPU and every CUDA device."""
        cpu = torch.device("cpu")
        devices = [
            pb.Device(
                name="cpu", description=platform.machine(), memory_bytes=memory_budget_bytes(cpu)
            )
        ]
        for index in range(torch.cuda.device_count()):
            facts = torch.cuda.get_device_properties(index)
            devices.append(
                pb.Device(
                    name=f"cuda:{index}", description=facts.name, memory_bytes=facts.total_memory
                )
            )
        return pb.ListDevicesResponse(devices=devices)
