"""The command-line options that train, evaluate, calibrate and export share."""

from pathlib import Path

import click

from edge.imaging.preprocess import FRAMINGS

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
NEW_FILE = click.Path(dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)
CHECKPOINT = click.Path(path_type=Path)  # without suffix: work/lungs/best

cache = click.option(
    "--cache", type=FOLDER, default=Path("work/arrays"), show_default=True, help="Folder for standardised radiographs."
)
framing = click.option(
    "--framing", type=click.Choice(FRAMINGS), default="pad", show_default=True, help="How a square is made."
)
labels = click.option("--labels", default="other,covid", show_default=True, help="NEGATIVE,POSITIVE.")
permitted_only = click.option(
    "--permitted-only", is_flag=True, help="Leave out rows whose licence forbids sharing the weights."
)
leave_out_refused = click.option(
    "--leave-out-refused", is_flag=True, help="Leave out radiographs that the box refuses; they are listed."
)
seed = click.option("--seed", type=int, default=0, show_default=True, help="Of splits, initial weights and choices.")
# Of a manifest without splits, by patient: what `train` holds out, `evaluate` finds again by the same seed.
HELD_OUT = {"val": 0.1, "test": 0.15}
