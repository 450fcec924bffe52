"""JSON of others, read in one way only: every key once, every number a number. What the values mean is the caller's."""

import json
import math
from typing import Any


def read_json(content: bytes) -> Any:
    """Raises ValueError when it is no UTF-8, no JSON, or could be read in two ways."""
    text = content.decode("utf-8")
    return json.loads(text, object_pairs_hook=_each_once, parse_float=_finite, parse_constant=_finite)


def number(value: Any) -> float:
    """Raises ValueError for anything but a finite number: no text, no boolean."""
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no number")
    return float(value)


def share(value: Any) -> float:
    """A number; raises ValueError outside 0..1 too."""
    if not 0 <= number(value) <= 1:
        raise ValueError(f"{value!r} is not within 0 and 1")
    return float(value)


def names(values: Any, what: str) -> tuple[str, ...]:
    """At least one text, none of them twice. Raises ValueError for anything else; a single text is not a list of its
    letters.
    """
    if not isinstance(values, list) or set(map(type, values)) != {str} or len(set(values)) < len(values):
        raise ValueError(f"{what} are {values!r}")
    return tuple(values)


def _finite(text: str) -> float:
    """Python reads NaN and Infinity, which are no JSON, and 1e999 as infinity."""
    return number(float(text))


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Readers differ in which of two equal keys counts, so that two of them may see two bundles in one manifest."""
    keys = [key for key, _ in pairs]
    if len(set(keys)) < len(keys):
        raise ValueError(f"key {max(keys, key=keys.count)!r} stands there twice")
    return dict(pairs)
