"""Holds the contract against the one that was published: what clients were built on must stay.

    python proto/breaking.py             # compares, and fails where a client would break
    python proto/breaking.py --publish   # makes what is here the published contract

The published contract is ``proto/published.binpb``, a ``google.protobuf.FileDescriptorSet``. New
messages, fields, values and methods may come. What was published may not go, nor change its number,
type, label, presence, place in a ``oneof`` or direction of streaming.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from google.protobuf import descriptor_pb2 as pb
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent
PUBLISHED = ROOT / "published.binpb"


@dataclass
class _Contract:
    """All names of a descriptor set, whatever file they stand in."""

    messages: dict[str, pb.DescriptorProto] = field(default_factory=dict)
    enums: dict[str, pb.EnumDescriptorProto] = field(default_factory=dict)
    services: dict[str, pb.ServiceDescriptorProto] = field(default_factory=dict)

    @staticmethod
    def of(files: pb.FileDescriptorSet) -> _Contract:
        """The set's names; what it imports from protobuf itself is not ours to hold."""
        found = _Contract()
        for file in files.file:
            if file.package.startswith("google."):
                continue
            for service in file.service:
                found.services[f"{file.package}.{service.name}"] = service
            for enum in file.enum_type:
                found.enums[f"{file.package}.{enum.name}"] = enum
            for message in file.message_type:
                found._add(file.package, message)
        return found

    def _add(self, scope: str, message: pb.DescriptorProto) -> None:
        name = f"{scope}.{message.name}"
        self.messages[name] = message
        for enum in message.enum_type:
            self.enums[f"{name}.{enum.name}"] = enum
        for inner in message.nested_type:
            self._add(name, inner)


def current(root: Path = ROOT) -> pb.FileDescriptorSet:
    """The contract as its files have it now.

    Args:
        root: folder of ``restore/v1``.
    """
    known = resources.files("grpc_tools") / "_proto"
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder, "now.binpb")
        status = protoc.main(
            [
                "protoc",
                f"-I{root}",
                f"-I{known}",
                "--include_imports",
                f"--descriptor_set_out={written}",
                *(str(source) for source in sorted((root / "restore/v1").glob("*.proto"))),
            ]
        )
        if status:
            raise SystemExit(status)
        return pb.FileDescriptorSet.FromString(written.read_bytes())


def breaks(before: pb.FileDescriptorSet, after: pb.FileDescriptorSet) -> list[str]:
    """What a client of ``before`` would miss or take for something else in ``after``.

    Returns:
        One line each; empty where every old client goes on as it did.
    """
    old, new = _Contract.of(before), _Contract.of(after)
    found = []
    for name, message in old.messages.items():
        if name in new.messages:
            found += _of_message(name, message, new.messages[name])
        else:
            found.append(f"message {name} is gone")
    for name, enum in old.enums.items():
        if name in new.enums:
            found += _of_enum(name, enum, new.enums[name])
        else:
            found.append(f"enum {name} is gone")
    for name, service in old.services.items():
        if name in new.services:
            found += _of_service(name, service, new.services[name])
        else:
            found.append(f"service {name} is gone")
    return found


def _of_message(name: str, old: pb.DescriptorProto, new: pb.DescriptorProto) -> Iterator[str]:
    there = {one.number: one for one in new.field}
    for one in old.field:
        what = f"field {name}.{one.name} = {one.number}"
        other = there.get(one.number)
        if other is None:
            moved = next((f.number for f in new.field if f.name == one.name), None)
            yield f"{what} is gone" if moved is None else f"{what} has number {moved} now"
            continue
        if other.name != one.name:
            yield f"{what} is named {other.name} now"
        for said, before, after in (
            ("type", _type(one), _type(other)),
            ("label", _label(one), _label(other)),
            ("presence", one.proto3_optional, other.proto3_optional),
            ("oneof", _oneof(old, one), _oneof(new, other)),
        ):
            if before != after:
                yield f"{what} has {said} {after} and had {before}"
    # A number that was set aside once may be on the wire still.
    kept = {number for span in new.reserved_range for number in range(span.start, span.end)}
    for span in old.reserved_range:
        for number in sorted(set(range(span.start, span.end)) - kept):
            yield f"number {number} of {name} is not reserved any more"


def _type(one: pb.FieldDescriptorProto) -> str:
    return one.type_name or pb.FieldDescriptorProto.Type.Name(one.type)


def _label(one: pb.FieldDescriptorProto) -> str:
    return pb.FieldDescriptorProto.Label.Name(one.label)


def _oneof(message: pb.DescriptorProto, one: pb.FieldDescriptorProto) -> str:
    # Optional fields of proto3 stand in a oneof of their own, which nobody sees.
    if not one.HasField("oneof_index") or one.proto3_optional:
        return ""
    return message.oneof_decl[one.oneof_index].name


def _of_enum(name: str, old: pb.EnumDescriptorProto, new: pb.EnumDescriptorProto) -> Iterator[str]:
    there = {value.number: value.name for value in new.value}
    for value in old.value:
        other = there.get(value.number)
        if other is None:
            yield f"value {name}.{value.name} = {value.number} is gone"
        elif other != value.name:
            yield f"value {name}.{value.name} = {value.number} is named {other} now"


def _of_service(
    name: str, old: pb.ServiceDescriptorProto, new: pb.ServiceDescriptorProto
) -> Iterator[str]:
    there = {method.name: method for method in new.method}
    for method in old.method:
        what = f"method {name}.{method.name}"
        other = there.get(method.name)
        if other is None:
            yield f"{what} is gone"
            continue
        for said, before, after in (
            ("request", method.input_type, other.input_type),
            ("response", method.output_type, other.output_type),
            ("streaming of requests", method.client_streaming, other.client_streaming),
            ("streaming of responses", method.server_streaming, other.server_streaming),
        ):
            if before != after:
                yield f"{what} has {said} {after} and had {before}"


def main(*, publish: bool) -> int:
    """Compare, or publish."""
    now = current()
    found = []
    if PUBLISHED.is_file():
        found = breaks(pb.FileDescriptorSet.FromString(PUBLISHED.read_bytes()), now)
    elif not publish:
        found = [f"{PUBLISHED.name} is not there; run python proto/breaking.py --publish"]
    for line in found:
        sys.stderr.write(line + "\n")
    if publish and not found:
        PUBLISHED.write_bytes(now.SerializeToString(deterministic=True))
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(publish="--publish" in sys.argv))
