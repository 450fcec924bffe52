"""`edge-cxr export`: trained weights to graphs, and how far their answers lie from the network's. Thin."""

import json
import os
from dataclasses import asdict
from functools import partial
from pathlib import Path

import click

from edge.config import resolve
from edge.engines.plans import COMPILERS, ONNX, TORCH_TENSORRT
from export.fused import Fused
from export.graph import OPSET, write_graph
from export.half import in_half
from export.loose_graphs import bundle_of
from export.parity import compare, phantom_inputs
from export.proof import ask_graphs, ask_torch, table
from export.torch_route import KeptPlan, Machine, TorchRoute, open_route
from export.torch_tensorrt import PRECISIONS
from training import options
from training.model import load_classifier, load_lungs, require_pair
from training.progress import bar

PHANTOMS = 8  # at most MAX_BATCH


@click.command(epilog="Example: edge-cxr export --lungs work/lungs/best --member work/chest/best --out work/graphs")
@click.option("--lungs", type=options.CHECKPOINT, required=True, help="Lung checkpoint.")
@click.option(
    "--member", "members", type=options.CHECKPOINT, multiple=True, required=True, help="Classifier checkpoint."
)
@click.option("--out", type=options.FOLDER, required=True, help="Folder for model.fp32.onnx and model.fp16.onnx.")
@click.option("--compiler", type=click.Choice(COMPILERS), default=ONNX, show_default=True,
              help=f"{TORCH_TENSORRT}: also compile plans for the GPU of this box, and keep them.")  # fmt: skip
@click.option("--precision", "precisions", type=click.Choice(PRECISIONS), multiple=True,
              help=f"Of a plan by {TORCH_TENSORRT}, repeatable  [both].")  # fmt: skip
@click.option("--state", help=f"State folder that keeps plans by {TORCH_TENSORRT}  [./edge-cxr-state].")
@options.framing
@click.pass_obj
def export(
    machine: Machine | None, lungs: Path, members: tuple[Path, ...], out: Path, compiler: str,
    precisions: tuple[str, ...], state: str | None, framing: str,
) -> None:  # fmt: skip
    """Write lung U-Net and members as one ONNX graph, in fp32 and in fp16; the first member gives the embedding.

    Both graphs are then asked about phantoms, by OpenVINO and where a GPU is at hand by TensorRT, and how far they lie
    from the trained network is printed.
    """
    machine, wanted = machine or Machine(), precisions or PRECISIONS
    route = _route(compiler, precisions, state, machine)  # first: it may refuse, and what follows takes long
    fused = _fused(lungs, members)
    graphs = {"fp32": fused, "fp16": in_half(fused)}
    (out / "accuracy.json").unlink(missing_ok=True)  # it judged the graphs that are replaced here
    for precision, network in bar(graphs.items(), "export", total=len(graphs)):
        write_graph(network, out / f"model.{precision}.onnx")
    bundle = bundle_of(out, tuple(graphs), name=out.name, members=tuple(member.parent.name for member in members))
    inputs = phantom_inputs(framing, PHANTOMS)
    exact = ask_torch(fused, inputs)
    found, kept = [], {}
    try:
        for name, answers in ask_graphs(out, bundle, inputs, machine.find, say=partial(click.echo, err=True)):
            found.append((name, compare(exact, answers)))
        if route is not None:
            for precision in bar(wanted, TORCH_TENSORRT, total=len(wanted)):
                kept[precision], answers = route.make(fused, bundle, precision, inputs)
                found.append((f"{TORCH_TENSORRT} {precision}", compare(exact, answers)))
    finally:
        click.echo(table(found), err=True)  # what is known, also when a plan cannot be built
    for precision, plan in kept.items():
        click.echo(_told(precision, plan), err=True)
    bytes_of = {precision: len(bundle.model_bytes(precision)) for precision in graphs}
    parity = {name: asdict(each) for name, each in found}
    plans = {precision: str(plan.path) for precision, plan in kept.items()}
    click.echo(json.dumps({"graphs": str(out), "opset": OPSET, "bytes": bytes_of, "parity": parity, "plans": plans}))


def _route(compiler: str, precisions: tuple[str, ...], state: str | None, machine: Machine) -> TorchRoute | None:
    if compiler == TORCH_TENSORRT:
        settings = resolve({"state": state}, os.environ, None).config
        return open_route(Path(settings.state), machine, trusted_keys=settings.trusted_keys)
    if precisions or state is not None:
        raise click.UsageError(f"--precision and --state are for --compiler {TORCH_TENSORRT}; add it or leave them")
    return None


def _fused(lungs: Path, members: tuple[Path, ...]) -> Fused:
    for member in members:
        require_pair(lungs, member)
    loaded = [load_classifier(member) for member in members]
    inputs = {(architecture.side, architecture.lung_crop) for _, architecture in loaded}
    if len(inputs) > 1:
        told = ", ".join(f"{side} pixels{' of the lungs alone' if crop else ''}" for side, crop in sorted(inputs))
        raise click.UsageError(f"the members read {told}; one graph needs one input")
    ((side, lung_crop),) = inputs
    return Fused(load_lungs(lungs), [network for network, _ in loaded], side=side, lung_crop=lung_crop)


def _told(precision: str, plan: KeptPlan) -> str:
    first = "; the box runs the one by way of ONNX that it holds too, until that is removed" if plan.second else ""
    return f"{precision} plan by {TORCH_TENSORRT}, {plan.size_bytes} bytes: {plan.path}{first}"


if __name__ == "__main__":
    export()
