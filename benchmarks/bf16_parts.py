"""What bf16 costs the research bundle: its int8 graph in two parts, lungs and member, each computed in f32 or bf16.

    python -m benchmarks.bf16_parts --data ../shared/data --out benchmarks/results/bf16-parts.json

A layer that is not int8 is computed as the hint says. Of the reference cases the fp32 network's own embeddings are
known, so that recall@4 is against the true neighbours, each case left out of its own. The box asks f32 for both.
"""

import csv
import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.utils import Extractor

from benchmarks.command import run_command
from benchmarks.machine import describe_machine
from edge.bundle import Bundle, open_bundle
from edge.engines.base import INPUT_NAME, INPUT_SIDE, MASK_SIDE
from edge.engines.openvino_cpu import COMPILE_OPTIONS
from edge.engines.silent_openvino import openvino
from edge.errors import EdgeError
from edge.imaging.preprocess import preprocess
from edge.imaging.read import read
from edge.values import case_id_of

K = 4
MASK = "lung_mask"
HINTS = ("f32", "bf16")
Embeddings = NDArray[np.float32]  # [cases, 128]


def parts(bundle: Bundle) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """radiograph -> lung mask; radiograph and lung mask -> all else that the box reads."""
    whole = Extractor(onnx.load_from_string(bundle.model_bytes("int8")))
    return whole.extract_model([INPUT_NAME], [MASK]), whole.extract_model([INPUT_NAME, MASK], ["score", "embedding"])


def opened(model: onnx.ModelProto, hint: str) -> Any:
    """An infer request."""
    core = openvino.Core()
    network = core.read_model(model=model.SerializeToString(), weights=b"")
    sides = {INPUT_NAME: INPUT_SIDE, MASK: MASK_SIDE}
    network.reshape({port.any_name: [1, 1, sides[port.any_name], sides[port.any_name]] for port in network.inputs})
    return core.compile_model(
        network, "CPU", COMPILE_OPTIONS | {"INFERENCE_PRECISION_HINT": hint}
    ).create_infer_request()


def reference_radiographs(bundle: Bundle, data: Path) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """The place among the reference cases, and what the engine reads: float32 [1, 1, 1024, 1024]."""
    place = {case_id: number for number, case_id in enumerate(bundle.reference().case_ids)}
    with (data / "covid.csv").open(encoding="utf-8", newline="") as text:
        for row in csv.DictReader(text):
            content = (data / row["path"]).read_bytes()
            number = place.get(case_id_of(hashlib.sha256(content).hexdigest()))
            if number is not None:
                yield number, preprocess(read(content), bundle.manifest.preprocessing).pixels[None]


def recall(found: Embeddings, true: Embeddings) -> float:
    """Of the K nearest by the true embedding, the share that is nearest by the one found; both among the true ones."""
    shares = []
    for number, one in enumerate(found):
        by_found, by_true = (np.linalg.norm(true - asked, axis=1) for asked in (one, true[number]))
        by_found[number] = by_true[number] = np.inf
        shares.append(len(set(np.argsort(by_found)[:K]) & set(np.argsort(by_true)[:K])) / K)
    return float(np.mean(shares))


def measure(bundle: Bundle, inputs: list[tuple[int, NDArray[np.float32]]]) -> list[dict[str, object]]:
    lungs, member = ({hint: opened(model, hint) for hint in HINTS} for model in parts(bundle))
    true, rows = bundle.reference().embeddings, []
    usual: NDArray[np.float64] | None = None
    for by_lungs in HINTS:
        for by_member in HINTS:
            found, scores = np.empty_like(true), np.empty(len(true))
            spent_s = time.process_time()
            for number, radiograph in inputs:
                lungs[by_lungs].infer({INPUT_NAME: radiograph})
                mask = lungs[by_lungs].get_tensor(MASK).data
                member[by_member].infer({INPUT_NAME: radiograph, MASK: mask})
                found[number] = member[by_member].get_tensor("embedding").data[0]
                scores[number] = member[by_member].get_tensor("score").data.item()
            spent_s = time.process_time() - spent_s
            usual = scores.copy() if usual is None else usual
            change = float(np.abs(scores - usual).max())
            rows.append({"lungs": by_lungs, "member": by_member, "recall_at_4": recall(found, true),
                         "score_change_max": change, "cpu_s": spent_s / len(inputs)})  # fmt: skip
    return rows


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="Folder with covid.csv.")
@click.option("--out", type=click.Path(path_type=Path), required=True)
def main(data: Path, out: Path) -> None:
    """Measure what bf16 saves and costs."""
    bundle = open_bundle("research")
    inputs = list(reference_radiographs(bundle, data))
    cases = len(bundle.reference().case_ids)
    if len(inputs) != cases:
        raise EdgeError(f"covid.csv has {len(inputs)} of {cases} reference cases; name the folder of the bundle's own")
    rows = measure(bundle, inputs)
    told = {"machine": describe_machine("python -m benchmarks.bf16_parts"), "cases": len(inputs), "rows": rows}
    out.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    for row in rows:
        click.echo(json.dumps(row))


if __name__ == "__main__":
    run_command(main)
