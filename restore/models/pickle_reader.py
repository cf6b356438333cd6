"""Reads the pickle inside a ``.pth`` without unpickling it.

A pickle is a program; Python's unpickler, and torch's restricted one, run it. This reader
interprets only what the weights of a network need (containers, numbers, strings, storages and the
recipe of a tensor) on plain values, and calls nothing that the file names. A name outside a short
list, or an instruction that builds objects, ends the reading with that name in the error. A second
short list names what published checkpoints carry beside their weights, such as a numpy number of
the validation: what these would build is left as an inert mark, and nothing can be taken out of it.

Format: CPython's ``pickletools`` documents every opcode; tensors are described as by torch's
``torch/_utils.py`` (``_rebuild_tensor_v2``) and ``torch/serialization.py`` (persistent ids).
"""

from __future__ import annotations

import pickletools
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from restore.errors import UnsafeWeights

__all__ = ["DTYPES", "Inert", "StorageSpec", "TensorSpec", "read_pickle"]

_MOST_OPCODES = 5_000_000

# torch's storage classes: safetensors' name of the number format, bytes for each number.
DTYPES: dict[str, tuple[str, int]] = {
    "DoubleStorage": ("F64", 8),
    "FloatStorage": ("F32", 4),
    "HalfStorage": ("F16", 2),
    "BFloat16Storage": ("BF16", 2),
    "LongStorage": ("I64", 8),
    "IntStorage": ("I32", 4),
    "ShortStorage": ("I16", 2),
    "CharStorage": ("I8", 1),
    "ByteStorage": ("U8", 1),
    "BoolStorage": ("BOOL", 1),
}

_TENSOR = {("torch._utils", "_rebuild_tensor_v2"), ("torch._utils", "_rebuild_tensor")}
_PARAMETER = ("torch._utils", "_rebuild_parameter")
_ORDERED_DICT = ("collections", "OrderedDict")
_SIZE = ("torch", "Size")
_NAMES = _TENSOR | {_PARAMETER, _ORDERED_DICT, _SIZE} | {("torch", storage) for storage in DTYPES}

# Recognised by name so that a checkpoint can be read past them; never imported, never built.
_INERT = frozenset(
    {
        ("numpy.core.multiarray", "scalar"),
        ("numpy", "dtype"),
        ("_codecs", "encode"),
        ("collections", "Counter"),
        ("pca_comp", "DCTParams"),  # fLDR-VFI's settings of its 8x8 blocks
    }
)


@dataclass(frozen=True)
class StorageSpec:
    """A run of numbers in the file.

    Attributes:
        key: its name in the file.
        dtype: number format as safetensors calls it.
        item_bytes: bytes for each number.
        count: how many numbers.
    """

    key: str
    dtype: str
    item_bytes: int
    count: int


@dataclass(frozen=True)
class TensorSpec:
    """A tensor as a view of a storage; offset and strides count numbers, not bytes."""

    storage: StorageSpec
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True)
class Inert:
    """Stands where a pickle would have built an object that is no part of the weights.

    Attributes:
        module: the module that the pickle names.
        name: the name in it.
    """

    module: str
    name: str


@dataclass(frozen=True)
class _Name:
    module: str
    name: str


class _Mark:
    pass


class _Machine:
    """The stack and the memo of the pickle machine, holding plain values only."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def pop_mark(self) -> list[Any]:
        for index in range(len(self.stack) - 1, -1, -1):
            if isinstance(self.stack[index], _Mark):
                items = self.stack[index + 1 :]
                del self.stack[index:]
                return items
        raise UnsafeWeights("the pickle is malformed: an instruction lacks its mark")

    def push_tuple(self, count: int) -> None:
        items = tuple(self.stack[-count:])
        if len(items) != count:
            raise UnsafeWeights("the pickle is malformed: its stack ran empty")
        del self.stack[-count:]
        self.stack.append(items)


def read_pickle(data: bytes, start: int = 0) -> tuple[Any, int]:
    """Interprets one pickle.

    Args:
        data: bytes that hold it.
        start: where it begins.

    Returns:
        The value, made of dict, list, tuple, set, str, bytes, int, float, bool, None,
        ``StorageSpec``, ``TensorSpec`` and ``Inert``; and where the pickle ends.

    Raises:
        UnsafeWeights: it names or builds anything else, or is malformed.
    """
    stream = BytesIO(data)
    stream.seek(start)
    machine = _Machine()
    count = 0
    try:
        for opcode, argument, position in _opcodes(stream):
            count += 1
            if count > _MOST_OPCODES:
                raise UnsafeWeights(f"the pickle has more than {_MOST_OPCODES} instructions")
            if opcode == "STOP":
                value = machine.stack.pop()
                if machine.stack:
                    raise UnsafeWeights("the pickle is malformed: values are left over")
                return value, stream.tell()
            _step(machine, opcode, argument, position)
    except UnsafeWeights:
        raise
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise UnsafeWeights(f"the pickle is malformed: {type(error).__name__}: {error}") from error
    raise UnsafeWeights("the pickle is malformed: it has no end")


def _opcodes(stream: BytesIO) -> Iterator[tuple[str, Any, int]]:
    with warnings.catch_warnings():
        # Text with odd escapes makes Python's decoder warn; such a file is judged further on.
        warnings.simplefilter("ignore")
        for opcode, argument, position in pickletools.genops(stream):
            yield opcode.name, argument, position or 0


def _step(machine: _Machine, opcode: str, argument: Any, position: int) -> None:  # noqa: ANN401
    stack = machine.stack
    if opcode in _VALUES:
        stack.append(argument)
    elif opcode in _CONSTANTS:
        stack.append(_CONSTANTS[opcode]())
    elif opcode in ("BINGET", "LONG_BINGET", "GET"):
        stack.append(machine.memo[int(argument)])
    elif opcode in ("BINPUT", "LONG_BINPUT", "PUT"):
        machine.memo[int(argument)] = stack[-1]
    elif opcode == "MEMOIZE":
        machine.memo[len(machine.memo)] = stack[-1]
    elif opcode in _ACTIONS:
        _ACTIONS[opcode](machine)
    elif opcode == "GLOBAL":
        module, _, name = argument.partition(" ")
        stack.append(_known(module, name, position))
    elif opcode == "STACK_GLOBAL":
        name, module = stack.pop(), stack.pop()
        stack.append(_known(str(module), str(name), position))
    elif opcode == "INST":
        module, _, name = argument.partition(" ")
        raise _unsafe(f"builds a {module}.{name}", position)
    elif opcode not in ("PROTO", "FRAME"):
        raise _unsafe(f"holds the instruction {opcode}, which builds objects", position)


def _known(module: str, name: str, position: int) -> _Name:
    if (module, name) not in _NAMES | _INERT:
        raise _unsafe(f"names {module}.{name}, which would be imported and can run code", position)
    return _Name(module, name)


def _unsafe(what: str, position: int) -> UnsafeWeights:
    return UnsafeWeights(
        f"the pickle {what} (at byte {position})",
        "nothing but tensors in dictionaries",
        "Ask the author for a .safetensors file, or for a .pth with the state dict alone.",
    )


def _reduce(machine: _Machine) -> None:
    arguments, target = machine.stack.pop(), machine.stack.pop()
    if not isinstance(target, _Name) or not isinstance(arguments, tuple):
        raise UnsafeWeights("the pickle calls something that is no name")
    key = (target.module, target.name)
    if key in _INERT:
        machine.stack.append(Inert(*key))
    elif key in _TENSOR:
        machine.stack.append(_tensor(arguments))
    elif key == _PARAMETER and arguments and isinstance(arguments[0], TensorSpec):
        machine.stack.append(arguments[0])
    elif key == _ORDERED_DICT and len(arguments) <= 1:
        pairs = arguments[0] if arguments else []
        if not all(isinstance(p, (list, tuple)) and len(p) == 2 for p in pairs):
            raise UnsafeWeights("the pickle makes a dictionary of something that is no pairs")
        machine.stack.append({_key(k): v for k, v in pairs})
    elif key == _SIZE and len(arguments) == 1 and isinstance(arguments[0], tuple):
        machine.stack.append(arguments[0])
    else:
        raise UnsafeWeights(f"the pickle calls {target.module}.{target.name} in an unknown way")


def _tensor(arguments: tuple[Any, ...]) -> TensorSpec:
    storage, offset, shape, strides = arguments[:4]
    numbers = (offset, *shape, *strides)
    if (
        not isinstance(storage, StorageSpec)
        or not all(type(n) is int and 0 <= n < 1 << 48 for n in numbers)
        or len(shape) != len(strides)
        or len(shape) > 16
    ):
        raise UnsafeWeights("the pickle describes a tensor in an impossible way")
    last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    size = 1
    for n in shape:
        size *= n
    if size and (last >= storage.count or size > storage.count):
        raise UnsafeWeights(
            f"a tensor of shape {shape} reaches beyond its storage of {storage.count} numbers"
        )
    return TensorSpec(storage, offset, tuple(shape), tuple(strides))


def _new_object(machine: _Machine) -> None:
    """``cls.__new__(cls, *args)``: only for what stays inert."""
    arguments, target = machine.stack.pop(), machine.stack.pop()
    if not isinstance(target, _Name) or not isinstance(arguments, tuple):
        raise UnsafeWeights("the pickle builds something that is no name")
    if (target.module, target.name) not in _INERT:
        raise UnsafeWeights(f"the pickle builds a {target.module}.{target.name}")
    machine.stack.append(Inert(target.module, target.name))


def _persistent(machine: _Machine) -> None:
    identity = machine.stack.pop()
    view = identity[5] if isinstance(identity, tuple) and len(identity) == 6 else None
    if not isinstance(identity, tuple) or len(identity) not in (5, 6) or view is not None:
        raise UnsafeWeights("the pickle refers to a storage in an unknown way")
    word, kind, key, _, count = identity[:5]
    if (
        word != "storage"
        or not isinstance(kind, _Name)
        or kind.name not in DTYPES
        or not isinstance(key, str)
        or type(count) is not int
        or not 0 <= count < 1 << 40
    ):
        raise UnsafeWeights("the pickle refers to a storage in an unknown way")
    dtype, item_bytes = DTYPES[kind.name]
    machine.stack.append(StorageSpec(key, dtype, item_bytes, count))


def _build(machine: _Machine) -> None:
    """An ordered dictionary may carry attributes (torch's ``_metadata``); they are dropped.

    So is the state of what stays inert.
    """
    machine.stack.pop()
    if not isinstance(machine.stack[-1], (dict, Inert)):
        raise UnsafeWeights("the pickle sets the attributes of an object")


def _key(value: Any) -> str | int:  # noqa: ANN401
    if type(value) not in (str, int):
        raise UnsafeWeights(f"the pickle uses a {type(value).__name__} as a dictionary's key")
    return value  # type: ignore[no-any-return]


def _fill(machine: _Machine, items: list[Any]) -> None:
    target = machine.stack[-1]
    if not isinstance(target, dict) or len(items) % 2:
        raise UnsafeWeights("the pickle sets items of something that is no dictionary")
    for index in range(0, len(items), 2):
        target[_key(items[index])] = items[index + 1]


def _extend(machine: _Machine, items: list[Any]) -> None:
    target = machine.stack[-1]
    if not isinstance(target, list):
        raise UnsafeWeights("the pickle appends to something that is no list")
    target.extend(items)


def _pop_two(machine: _Machine) -> list[Any]:
    value, key = machine.stack.pop(), machine.stack.pop()
    return [key, value]


def _push_dict(machine: _Machine) -> None:
    items = machine.pop_mark()
    machine.stack.append({})
    _fill(machine, items)


_VALUES = frozenset(
    {
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE"),
        *("BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    }
)
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
    "MARK": _Mark,
}
_ACTIONS: dict[str, Callable[[_Machine], None]] = {
    "TUPLE": lambda m: m.stack.append(tuple(m.pop_mark())),
    "TUPLE1": lambda m: m.push_tuple(1),
    "TUPLE2": lambda m: m.push_tuple(2),
    "TUPLE3": lambda m: m.push_tuple(3),
    "LIST": lambda m: m.stack.append(m.pop_mark()),
    "DICT": _push_dict,
    "APPEND": lambda m: _extend(m, [m.stack.pop()]),
    "APPENDS": lambda m: _extend(m, m.pop_mark()),
    "SETITEM": lambda m: _fill(m, _pop_two(m)),
    "SETITEMS": lambda m: _fill(m, m.pop_mark()),
    "POP": lambda m: m.stack.__delitem__(-1),
    "REDUCE": _reduce,
    "NEWOBJ": _new_object,
    "BUILD": _build,
    "BINPERSID": _persistent,
}
