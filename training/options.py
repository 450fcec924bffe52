"""The command-line options that train, evaluate, calibrate and export share."""

from pathlib import Path

import click

from edge.imaging.preprocess import FRAMINGS
from edge.operating_point import operating_point

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


def _two_labels(context: click.Context, parameter: click.Parameter, value: str) -> tuple[str, str]:
    names = [name.strip() for name in value.split(",")]
    if len(names) != 2 or not all(names) or names[0] == names[1]:
        raise click.BadParameter(f"{value!r} does not name two labels; write NEGATIVE,POSITIVE, as in other,covid")
    return names[0], names[1]


labels = click.option(
    "--labels", default="other,covid", show_default=True, callback=_two_labels, help="NEGATIVE,POSITIVE."
)


def operating_rule(context: click.Context, parameter: click.Parameter, value: str) -> str:
    try:
        operating_point([0.0, 1.0], [False, True], value)
    except ValueError as fault:
        raise click.BadParameter(str(fault)) from None
    return value


permitted_only = click.option(
    "--permitted-only",
    is_flag=True,
    help="Leave out rows whose licence forbids sharing the weights. Of a manifest without splits, rows are held out "
    "from what remains: give it to every command or to none.",
)
leave_out_refused = click.option(
    "--leave-out-refused", is_flag=True, help="Leave out radiographs that the box refuses; they are listed."
)
seed = click.option("--seed", type=int, default=0, show_default=True, help="Of splits, initial weights and choices.")
# Of a manifest without splits, by patient and group: what `train` holds out, `evaluate` finds again by the same seed
# and the same --permitted-only.
HELD_OUT = {"val": 0.1, "test": 0.15}
