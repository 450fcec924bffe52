"""`edge-cxr build`: a bundle's graph to the plan that this box's GPU runs, or ahead of time for other boxes. Thin.

The box runs it, also as the daemon's child: nothing here imports torch, onnx or training.
"""

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress

from edge import options
from edge.config import Config, resolve
from edge.engines.cuda import Gpu, open_cuda
from edge.engines.flavours import FLAVOURS, Flavour, installed_flavour
from edge.engines.opening import choose_precision
from edge.engines.plans import PlanKey, PlanStore, plan_key, record_of, write_plan
from edge.errors import BackendUnavailable
from edge.shelf import open_configured
from edge.signature import load_key, sign
from edge.state import open_state
from export.plan import build_plan

_STEP = 0.01  # of progress told


@dataclass(frozen=True)
class _Order:
    """What to build for. workspace_bytes: None when the GPU is not here."""

    flavour: Flavour
    gpus: tuple[Gpu, ...]
    workspace_bytes: int | None

    @property
    def targets(self) -> tuple[str, ...]:
        return tuple(gpu.compute_capability for gpu in self.gpus) if self.flavour.portable else ()


@dataclass(frozen=True)
class _Place:
    """Where plans go. timing_cache: None when the kernels' timings would be another machine's."""

    folder: Path
    keep: Callable[[PlanKey, bytes], None]
    timing_cache: Path | None

    @property
    def here(self) -> bool:
        return self.timing_cache is not None


@click.command(epilog="Example: edge-cxr build --bundle research --precision int8")
@click.option("--bundle", help="Model bundle: a packaged one's name, or a folder  [research].")
@click.option("--precision", help="auto, fp32, fp16 or int8  [auto: what the box would choose].")
@click.option("--flavour", type=click.Choice(FLAVOURS), help="Which TensorRT  [the one that the box runs].")
@click.option("--target", help="Compute capabilities to build for without their GPU, as sm_86,sm_89 (tensorrt-rtx).")
@click.option("--state", help="State folder that keeps the plan  [./edge-cxr-state].")
@click.option("--key", type=click.Path(path_type=Path), help="Private key to sign the plan with, for other boxes.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for a signed plan, to be copied to their plans/.")
@click.option("--trusted-key", "trusted_keys", multiple=True, help="Public key that the bundle must be signed by.")
@options.config
@options.json_output
def build(
    flavour: str | None, target: str | None, key: Path | None, out: Path | None, trusted_keys: tuple[str, ...],
    config: Path | None, as_json: bool, **asked: str | None,
) -> None:  # fmt: skip
    """Build the TensorRT plan of a bundle and keep it where `watch` and `infer` find it.

    They run one TensorRT, tensorrt where it is installed: a plan of the other flavour is for other boxes.
    """
    settings = resolve({**asked, "trusted_keys": trusted_keys or None}, os.environ, config).config
    bundle = open_configured(settings)
    precision = choose_precision(bundle, settings.precision, "tensorrt")
    model = bundle.model_bytes(precision)
    order = _order(installed_flavour(flavour), target)
    place = _place(settings, key, out)
    started = time.monotonic()
    with _telling(as_json) as progress:
        plan = build_plan(
            model,
            order.flavour,
            precision=precision,
            targets=order.targets,
            progress=progress,
            timing_cache=place.timing_cache,
            workspace_bytes=order.workspace_bytes,
        )
    keys = [plan_key(model, precision, order.flavour, gpu) for gpu in order.gpus]
    for one in keys:
        place.keep(one, plan)
    built = {
        "outcome": "built",
        "bundle": bundle.id,
        "precision": precision,
        "flavour": order.flavour.name,
        "flavour_version": order.flavour.version,
        "compute_capabilities": [gpu.compute_capability for gpu in order.gpus],
        "bytes": len(plan),
        "built_s": round(time.monotonic() - started, 2),
        "plans": [str(place.folder / f"{one.digest}.plan") for one in keys],
    }
    if as_json:
        click.echo(json.dumps(built))
    else:
        capabilities = ", ".join(gpu.compute_capability for gpu in order.gpus)
        told = "{precision} plan with {flavour} {flavour_version}, {bytes} bytes, built in {built_s} s".format(**built)
        click.echo(f"{told}; for {capabilities} in {place.folder}")
    runs = installed_flavour()
    if place.here and runs.name != order.flavour.name:
        click.echo(f"edge-cxr: watch and infer run {runs.name} {runs.version} here and will not find this plan; "
                   f"leave out --flavour, or uninstall {runs.name}", err=True)  # fmt: skip


def _order(flavour: Flavour, target: str | None) -> _Order:
    """Raises BackendUnavailable without a GPU, unless targets are named and the flavour can do without."""
    if target is not None:
        if not flavour.targets:
            raise BackendUnavailable(f"{flavour.name} builds for the GPU at hand alone; leave --target out there, or "
                                     "run: pip install tensorrt-rtx")  # fmt: skip
        named = dict.fromkeys(capability.strip() for capability in target.split(","))
        return _Order(flavour, tuple(Gpu("", "", capability) for capability in named), None)
    try:
        cuda = open_cuda()
    except BackendUnavailable as missing:
        ahead = f"name GPUs that are not here: --target {','.join(flavour.targets)}"
        elsewhere = "build ahead of time with tensorrt-rtx: pip install tensorrt-rtx"
        raise BackendUnavailable(f"{missing}; build on a machine with a GPU, or "
                                 f"{ahead if flavour.targets else elsewhere}") from None  # fmt: skip
    try:
        with cuda.current():
            return _Order(flavour, (cuda.gpu,), cuda.free_bytes() // 2)
    finally:
        cuda.close()


def _place(settings: Config, key: Path | None, out: Path | None) -> _Place:
    """This box's own store, or with a key a folder for other boxes."""
    if key is None and out is None:
        state = open_state(Path(settings.state))
        store = PlanStore(state.plans, site_key=state.site_key, trusted_keys=settings.trusted_keys)
        return _Place(state.plans, store.keep, state.plans / "timing.cache")
    if key is None or out is None:
        raise click.UsageError("--key and --out go together: a plan for other boxes is signed and lies in a folder")
    folder, private_key = out, load_key(key)

    def keep_signed(one: PlanKey, plan: bytes) -> None:
        record = record_of(one, plan)
        write_plan(folder, one, plan, record, sign(record, private_key).line)

    return _Place(folder, keep_signed, None)


@contextlib.contextmanager
def _telling(as_json: bool) -> Iterator[Callable[[float], None]]:
    """A bar on stderr, or for machines a line of JSON for every hundredth."""
    if as_json:
        told = [0.0]

        def tell(fraction: float) -> None:
            if fraction - told[0] >= _STEP:
                told[0] = fraction
                click.echo(json.dumps({"progress": round(fraction, 4)}))

        yield tell
        return
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("Building the plan", total=1.0)
        yield lambda fraction: bar.update(task, completed=fraction)
