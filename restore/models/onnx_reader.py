"""Takes the weights of a SPAN network out of an ONNX graph.

Some SPAN models are published as ONNX only. Their graphs hold the merged 3x3 convolutions under
the names that they have in the network, so the weights can be taken over bit for bit. Other
graphs rename, fold or reshape what they hold; those are refused, for a guess would be no model.

Format: the protobuf wire format (varints and length-delimited fields) and ``onnx.proto3``:
ModelProto.graph = 7, GraphProto.node = 1 and .initializer = 5, NodeProto.op_type = 4 and
.attribute = 5, AttributeProto.t = 5, TensorProto.dims = 1, .data_type = 2, .float_data = 4,
.name = 8, .raw_data = 9.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import numpy as np

from restore.errors import UnsafeWeights, UnsupportedModel
from restore.models.archive import Archive
from restore.models.pickle_reader import StorageSpec, TensorSpec

__all__ = ["SPAN_MEAN", "SPAN_RANGE", "looks_like_onnx", "open_onnx"]

# Names in the metadata of a safetensors file, read again by ``load``.
SPAN_MEAN = "span_rgb_mean"
SPAN_RANGE = "span_img_range"

_MODEL_GRAPH = 7
_GRAPH_NODE, _GRAPH_INITIALIZER = 1, 5
_NODE_OP, _NODE_ATTRIBUTE, _ATTRIBUTE_TENSOR = 4, 5, 5
_DIMS, _DATA_TYPE, _FLOAT_DATA, _NAME, _RAW_DATA = 1, 2, 4, 8, 9
_FORMATS = {1: ("F32", 4), 10: ("F16", 2)}
_SPAN_OPERATIONS = frozenset(
    {"Conv", "Mul", "Sigmoid", "Constant", "Sub", "Add", "Concat", "DepthToSpace"}
)
_SPAN_CONVOLUTIONS = (
    *(f"block_{block}.c{part}_r.eval_conv" for block in range(1, 7) for part in range(1, 4)),
    *("conv_1.eval_conv", "conv_2.eval_conv", "conv_cat", "upsampler.0"),
)
_SPAN_NAMES = frozenset(f"{c}.{part}" for c in _SPAN_CONVOLUTIONS for part in ("weight", "bias"))


def looks_like_onnx(content: bytes, name: str) -> bool:
    """Whether a file is an ONNX graph: its name says so, and it begins with ``ir_version``."""
    return name.lower().endswith(".onnx") and content[:1] == b"\x08"


def open_onnx(content: bytes) -> Archive:
    """Reads the weights of a SPAN graph.

    Raises:
        UnsafeWeights: the file is malformed.
        UnsupportedModel: it is the graph of something else.
    """
    view = memoryview(content)
    graphs = _parts(view, _MODEL_GRAPH)
    if len(graphs) != 1:
        raise UnsafeWeights(f"the ONNX file holds {len(graphs)} graphs", "one")
    nodes = _parts(graphs[0], _GRAPH_NODE)
    operations = [bytes(v).decode("utf-8", "replace") for n in nodes for v in _parts(n, _NODE_OP)]
    constants = [
        _numbers(tensor)
        for node in nodes
        for attribute in _parts(node, _NODE_ATTRIBUTE)
        for tensor in _parts(attribute, _ATTRIBUTE_TENSOR)
    ]
    tensors: dict[str, tuple[TensorSpec, memoryview]] = {}
    for part in _parts(graphs[0], _GRAPH_INITIALIZER):
        spec, data = _tensor(part)
        tensors[spec.storage.key] = (spec, data)
    strange = set(operations) - _SPAN_OPERATIONS
    if tensors.keys() != _SPAN_NAMES or strange or [len(c) for c in constants[:2]] != [3, 1]:
        raise UnsupportedModel(
            f"the ONNX graph holds {len(tensors)} tensors and the operations "
            f"{', '.join(sorted(set(operations)))}",
            "the graph of a SPAN network that normalises its input and kept its names",
            "Ask the author for the .pth or .safetensors file that the graph was made from.",
        )
    # The graph begins by taking off a mean colour and multiplying. Neither is a weight.
    mean, span = constants[:2]
    return Archive(
        {name: spec for name, (spec, _) in tensors.items()},
        lambda spec: tensors[spec.key][1],
        {
            SPAN_MEAN: ",".join(str(float(value)) for value in mean),
            SPAN_RANGE: str(float(span[0])),
        },
    )


def _parts(message: memoryview, wanted: int) -> list[memoryview]:
    """Returns the length-delimited fields of a message that have one number."""
    return [v for f, v in _fields(message) if f == wanted and not isinstance(v, int)]


def _numbers(message: memoryview) -> np.ndarray[tuple[int, ...], np.dtype[np.floating]]:
    """Returns a float tensor's numbers; an empty array for one of another kind."""
    kinds = [v for f, v in _fields(message) if f == _DATA_TYPE]
    if kinds not in ([1], [10]):
        return np.empty(0, np.float32)
    spec, data = _tensor(message)
    return np.frombuffer(data, np.float32 if spec.storage.item_bytes == 4 else np.float16)


def _tensor(message: memoryview) -> tuple[TensorSpec, memoryview]:
    dims: list[int] = []
    name, kind = "", 0
    data = memoryview(b"")
    for field, value in _fields(message):
        if field == _DIMS and isinstance(value, int):
            dims.append(value)
        elif field == _DIMS and not isinstance(value, int):
            dims += _varints(value)
        elif field == _DATA_TYPE and isinstance(value, int):
            kind = value
        elif field == _NAME and not isinstance(value, int):
            name = bytes(value).decode("utf-8", "replace")
        elif field in (_RAW_DATA, _FLOAT_DATA) and not isinstance(value, int):
            data = value
    if kind not in _FORMATS or len(dims) > 8:
        raise UnsupportedModel(
            f"the ONNX tensor {name!r} has the number format {kind}", "float32 (1) or float16 (10)"
        )
    dtype, item_bytes = _FORMATS[kind]
    count = prod(dims)
    if count * item_bytes != len(data):
        raise UnsafeWeights(
            f"the ONNX tensor {name!r} of shape {tuple(dims)} is {len(data)} bytes long"
        )
    strides = tuple(prod(dims[i + 1 :]) for i in range(len(dims)))
    spec = TensorSpec(StorageSpec(name, dtype, item_bytes, count), 0, tuple(dims), strides)
    if not np.isfinite(np.frombuffer(data, np.float32 if item_bytes == 4 else np.float16)).all():
        raise UnsupportedModel(f"the ONNX tensor {name!r} holds values that are not finite")
    return spec, data


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yields the fields of a protobuf message: numbers, or bytes for everything else."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        field, wire = key >> 3, key & 7
        if wire == 0:
            number, position = _varint(message, position)
            yield field, number
            continue
        if wire == 2:
            length, position = _varint(message, position)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise UnsafeWeights(f"the ONNX file is malformed: wire type {wire}")
        if position + length > len(message):
            raise UnsafeWeights("the ONNX file is malformed: a field reaches beyond its end")
        yield field, message[position : position + length]
        position += length


def _varints(message: memoryview) -> list[int]:
    found, position = [], 0
    while position < len(message):
        number, position = _varint(message, position)
        found.append(number)
    return found


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    number = 0
    for shift in range(0, 64, 7):
        if position >= len(message):
            break
        byte = message[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, position
    raise UnsafeWeights("the ONNX file is malformed: a number has no end")
