"""Tensors that lie outside an ONNX file are found wherever a tensor can stand in it."""

from collections.abc import Callable

import onnx
import pytest
from onnx import AttributeProto, TensorProto, helper
from tiny_bundle import tiny_network

from edge.bundle import PACKAGED_IDS, open_bundle
from edge.external_data import LEADS_TO, has_external_data


def outside() -> TensorProto:
    tensor = TensorProto(name="weights", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="/etc/weights")
    return tensor


def node_with(**attributes: object) -> onnx.NodeProto:
    return helper.make_node("Constant", [], ["out"], **attributes)


def nested(tensor: TensorProto) -> onnx.GraphProto:
    return helper.make_graph([], "inner", [], [], [tensor])


def sparse(tensor: TensorProto) -> onnx.SparseTensorProto:
    return onnx.SparseTensorProto(values=tensor, dims=[1])


PLACES: dict[str, Callable[[onnx.ModelProto], object]] = {
    "initializer": lambda model: model.graph.initializer.append(outside()),
    "sparse values": lambda model: model.graph.sparse_initializer.append(sparse(outside())),
    "sparse indices": lambda model: model.graph.sparse_initializer.append(onnx.SparseTensorProto(indices=outside())),
    "attribute": lambda model: model.graph.node.append(node_with(value=outside())),
    "attribute list": lambda model: model.graph.node.append(node_with(values=[outside()])),
    "sparse attribute": lambda model: model.graph.node.append(node_with(value=sparse(outside()))),
    "sparse attribute list": lambda model: model.graph.node.append(node_with(values=[sparse(outside())])),
    "branch": lambda model: model.graph.node.append(node_with(then_branch=nested(outside()))),
    "branches": lambda model: model.graph.node.append(node_with(branches=[nested(outside())])),
    "function": lambda model: model.functions.add().node.append(node_with(value=outside())),
    "function default": lambda model: model.functions.add().attribute_proto.append(
        AttributeProto(name="a", type=AttributeProto.TENSOR, t=outside())
    ),
    "training step": lambda model: model.training_info.add().algorithm.CopyFrom(nested(outside())),
    "training start": lambda model: model.training_info.add().initialization.CopyFrom(nested(outside())),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_tensor_outside_is_found(place: str) -> None:
    model = tiny_network()
    PLACES[place](model)
    assert has_external_data(model.SerializeToString())


@pytest.mark.parametrize("field", ["data_location", "external_data"])
def test_one_of_the_two_signs_is_enough(field: str) -> None:
    model = tiny_network()
    tensor = outside()
    tensor.ClearField(field)
    model.graph.initializer.append(tensor)
    assert has_external_data(model.SerializeToString())


def test_every_field_that_leads_to_a_tensor_is_known() -> None:
    """Asked of the ONNX library itself: a version with a new way to a tensor fails here."""
    fields: dict[str, dict[int, str]] = {}
    waiting = [onnx.ModelProto.DESCRIPTOR]
    while waiting:
        message = waiting.pop()
        if message.name not in fields:
            inner = [field for field in message.fields if field.message_type is not None]
            fields[message.name] = {field.number: field.message_type.name for field in inner}
            waiting += [field.message_type for field in inner]
    leading = {"TensorProto"}
    while more := {name for name, inner in fields.items() if leading & {*inner.values()}} - leading:
        leading |= more
    found = {name: {number: to for number, to in fields[name].items() if to in leading} for name in leading}
    assert found == LEADS_TO


def test_weights_inside_are_none_outside() -> None:
    model = tiny_network()
    model.graph.node.append(node_with(then_branch=nested(TensorProto(name="inside", raw_data=b"\x6a\x70\x01"))))
    assert not has_external_data(model.SerializeToString())
    for name in PACKAGED_IDS:
        bundle = open_bundle(name)
        assert not any(has_external_data(bundle.model_bytes(precision)) for precision in bundle.manifest.precisions)


@pytest.mark.parametrize(
    "content",
    [b"\x3a\x05", b"\x08", b"\x08\xff", b"\x08" + b"\xff" * 10 + b"\x01", b"\x3b\x3c", b"\x09\x00", b"<?xml version"],
)
def test_what_is_no_protobuf_is_an_error(content: bytes) -> None:
    with pytest.raises(ValueError):
        has_external_data(content)


@pytest.mark.parametrize("tag", [b"\xea\x80\x80\x80\x10", b"\xea\x80\x80\x80\x80\x00", b"\x02", b"\x00"],
                         ids=["33 bits", "six bytes", "number 0", "number 0 again"])  # fmt: skip
def test_a_tag_that_protobuf_reads_in_another_way_is_an_error(tag: bytes) -> None:
    """Cut to 32 bits the first is field 13, external_data: OpenVINO would read the file."""
    tensor = tag + _length(4) + b"\x0a\x02xy"
    graph = b"\x2a" + _length(len(tensor)) + tensor
    with pytest.raises(ValueError, match="tag 0x"):
        has_external_data(b"\x3a" + _length(len(graph)) + graph)


def test_endless_nesting_is_an_error() -> None:
    message = b""
    for _ in range(60):  # graph in attribute in node in graph: three levels each
        for tag in (b"\x32", b"\x2a", b"\x0a"):
            message = tag + _length(len(message)) + message
    with pytest.raises(ValueError, match="nested too deeply"):
        has_external_data(b"\x3a" + _length(len(message)) + message)


def _length(value: int) -> bytes:
    digits = bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*digits, value])
