"""Tells whether an ONNX file keeps tensors in other files, which no digest of it covers; without an ONNX library.

OpenVINO and TensorRT would read such files from anywhere on the disk, even when they are handed the model as bytes.
"""

from collections.abc import Iterator

# What leads to a tensor: message -> number of its field -> message in that field (onnx.proto, IR version 13).
LEADS_TO = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    "GraphProto": {1: "NodeProto", 5: "TensorProto", 15: "SparseTensorProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        5: "TensorProto",
        6: "GraphProto",
        10: "TensorProto",
        11: "GraphProto",
        22: "SparseTensorProto",
        23: "SparseTensorProto",
    },
    "SparseTensorProto": {1: "TensorProto", 2: "TensorProto"},
    "TensorProto": {},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14  # fields of a tensor
_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5  # wire types
_DEEPEST = 100  # as protobuf itself
_MOST_TAG_BYTES = 5


def has_external_data(model: bytes) -> bool:
    """Whether any tensor of the model says that its values lie elsewhere. Raises ValueError when it is no protobuf."""
    return _any_external(memoryview(model), "ModelProto", 0)


def _any_external(message: memoryview, kind: str, depth: int) -> bool:
    if depth > _DEEPEST:
        raise ValueError("messages are nested too deeply")
    for number, value in _fields(message):
        if kind == "TensorProto" and (number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value != 0)):
            return True
        inner = LEADS_TO[kind].get(number)
        if inner is not None and isinstance(value, memoryview) and _any_external(value, inner, depth + 1):
            return True
    return False


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of each field: an int for numbers of any width, the bytes for everything else."""
    place = 0
    while place < len(message):
        tag, behind = _varint(message, place)
        # Protobuf keeps 32 bits of a tag: a wider one would be another field there than here.
        if tag >> 32 or behind - place > _MOST_TAG_BYTES or tag >> 3 == 0:
            raise ValueError(f"tag {tag:#x} of {behind - place} bytes")
        number, wire_type, place = tag >> 3, tag & 7, behind
        if wire_type == _VARINT:
            value, place = _varint(message, place)
            yield number, value
            continue
        if wire_type == _BYTES:
            length, place = _varint(message, place)
        elif wire_type in (_EIGHT_BYTES, _FOUR_BYTES):
            length = 8 if wire_type == _EIGHT_BYTES else 4
        else:  # groups: ONNX has none, and what stands in one cannot be told from what stands beside it
            raise ValueError(f"wire type {wire_type}")
        if place + length > len(message):
            raise ValueError("a field is cut off")
        yield number, message[place : place + length]
        place += length


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(message):
            raise ValueError("a number is cut off")
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError("a number has more than ten bytes")
