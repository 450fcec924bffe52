"""Options, environment and edge-cxr.toml -> one frozen Config. The only reader of environment variables.

Precedence: command-line option, then EDGE_CXR_<KEY>, then the file, then the default. Unknown keys are refused by name.
The file: --config, then EDGE_CXR_CONFIG, then the installed one where there is one; an empty name means none.
"""

import difflib
import math
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from edge.errors import UsageError
from edge.signature import public_key_bytes
from edge.values import AFTER, BACKENDS, ORDERS, PRECISIONS, SANDBOXES, WATCHING

ENVIRONMENT_PREFIX = "EDGE_CXR_"
INSTALLED = Path("/etc/edge-cxr/edge-cxr.toml")
_FILE = "config"  # in the environment beside the keys: names the file
# What a running process holds on to; every other key counts from a reload on.
NEEDS_RESTART = ("state", "listen")


@dataclass(frozen=True)
class Config:
    """Every setting of the box; docs/configuration.md explains each. An empty `listen` opens no port."""

    state: str = "./edge-cxr-state"
    bundle: str = "research"
    shadow: str = ""
    backend: str = "auto"
    precision: str = "auto"
    after: str = "keep"
    listen: str = "127.0.0.1:8080"
    neighbours: int = 4
    include_earlier_cases: bool = False
    same_patient: bool = True
    reembed: bool = False
    sandbox: str = "auto"
    decode_workers: int = 2
    decode_limit_s: float = 15.0
    known_answer_s: float = 21600.0
    unfinished_after_s: float = 60.0
    watching: str = "auto"
    order: str = "oldest"
    scan_s: float = 10.0
    poll_s: float = 2.0
    reserve_percent: float = 5.0
    reserve_bytes: int = 5_000_000_000
    queue_size: int = 4
    trusted_keys: tuple[str, ...] = ()
    keep_results_days: float = 0.0
    keep_archive_days: float = 0.0
    keep_quarantine_days: float = 0.0
    results_max_bytes: int = 0
    archive_max_bytes: int = 0
    quarantine_max_bytes: int = 0


@dataclass(frozen=True)
class Origins:
    """Where each value of a Config came from: "option", "environment", "file" or "default". file: the one read."""

    config: Config
    origin: dict[str, str]
    file: Path | None = None

    def source(self, key: str) -> str | None:
        """What to edit to change a value: a variable of the environment, or the file."""
        known = {"environment": f"{ENVIRONMENT_PREFIX}{key.upper()}", "file": str(self.file)}
        return known.get(self.origin[key])


_CHOICES = {
    "backend": ("auto", *BACKENDS),
    "precision": ("auto", *PRECISIONS),
    "after": AFTER,
    "watching": WATCHING,
    "order": ORDERS,
    "sandbox": SANDBOXES,
}
_POSITIVE = (
    "decode_workers",
    "decode_limit_s",
    "known_answer_s",
    "unfinished_after_s",
    "scan_s",
    "poll_s",
    "queue_size",
)
_RETENTION = (
    "keep_results_days",
    "keep_archive_days",
    "keep_quarantine_days",
    "results_max_bytes",
    "archive_max_bytes",
    "quarantine_max_bytes",
)
_PERCENT = ("reserve_percent",)
_AT_MOST = {"decode_workers": 64, "decode_limit_s": 3600.0, "known_answer_s": 31_536_000.0}
_NOT_NEGATIVE = ("neighbours", "reserve_bytes", *_RETENTION)


def resolve(options: Mapping[str, Any], environment: Mapping[str, str], file: Path | None) -> Origins:
    """One Config from all sources; an option of None was not given. Raises UsageError naming the key and the fix."""
    written = {
        name.removeprefix(ENVIRONMENT_PREFIX).lower(): text
        for name, text in environment.items()
        if name.startswith(ENVIRONMENT_PREFIX)
    }
    written.pop(_FILE, None)
    sources = {
        "option": {key: value for key, value in options.items() if value is not None},
        "environment": {key: _parsed(key, text) for key, text in _checked_keys(written, "the environment").items()},
        "file": {} if file is None else _checked_keys(_read(file), str(file)),
    }
    values, origin = {}, {}
    for field in fields(Config):
        name = next((name for name, given in sources.items() if field.name in given), "default")
        origin[field.name] = name
        if name != "default":
            values[field.name] = _checked(field.name, sources[name][field.name], name)
    return Origins(Config(**values), origin, file)


def file_to_read(given: str | None, environment: Mapping[str, str], *, installed: Path = INSTALLED) -> Path | None:
    """given: by --config, None when it was not. The installed file is read where it exists and nothing else is said."""
    named = environment.get(f"{ENVIRONMENT_PREFIX}{_FILE.upper()}") if given is None else given
    if named is None:
        return installed if installed.exists() else None
    return Path(named) if named else None


def without_port_unless_asked(origins: Origins, *, once: bool) -> Config:
    """A single run opens no port unless somebody asked for one."""
    unasked = once and origins.origin["listen"] == "default"
    return replace(origins.config, listen="") if unasked else origins.config


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as fault:
        raise UsageError(f"configuration {file} cannot be read ({fault.strerror}); check --config") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as fault:
        raise UsageError(f"configuration {file} is not TOML ({fault}); mend that line") from None


def _checked_keys(given: dict[str, Any], where: str) -> dict[str, Any]:
    known = [field.name for field in fields(Config)]
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known keys: {', '.join(known)}"
            raise UsageError(f"unknown key {key!r} in {where}; {hint}")
    return given


def _parsed(key: str, text: str) -> Any:
    kind = type(getattr(Config(), key))
    readers: dict[type, Callable[[str], Any]] = {bool: _boolean, int: int, float: float, str: str, tuple: _listed}
    try:
        return readers[kind](text)
    except ValueError:
        raise UsageError(f"{ENVIRONMENT_PREFIX}{key.upper()} is {text!r}; it must be of type {kind.__name__}") from None


def _boolean(text: str) -> bool:
    words = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    if text.lower() not in words:
        raise ValueError(text)
    return words[text.lower()]


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")] if text.strip() else []


def _checked(key: str, value: Any, origin: str) -> Any:
    kind = type(getattr(Config(), key))
    if kind is float and type(value) is int:
        value = float(value)
    if kind is tuple:
        return _public_keys(value, origin)
    if type(value) is not kind:
        raise UsageError(f"{key} ({origin}) is {value!r}; it must be of type {kind.__name__}")
    if key in _CHOICES and value not in _CHOICES[key]:
        raise UsageError(f"{key} ({origin}) is {value!r}; it must be one of {', '.join(_CHOICES[key])}")
    if kind is float and not math.isfinite(value):
        unit = "days" if key.endswith("_days") else "seconds"
        raise UsageError(f"{key} ({origin}) is {value}; it must be a number of {unit}")
    if key in _PERCENT and not 0 <= value <= 100:
        raise UsageError(f"{key} ({origin}) is {value}; it must lie between 0 and 100")
    if key in _AT_MOST and value > _AT_MOST[key]:
        raise UsageError(f"{key} ({origin}) is {value}; it must be at most {_AT_MOST[key]}")
    if (key in _POSITIVE and value <= 0) or (key in _NOT_NEGATIVE and value < 0):
        raise UsageError(f"{key} ({origin}) is {value}; it must be greater")
    return value


def _public_keys(value: Any, origin: str) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise UsageError(f'trusted_keys ({origin}) is {value!r}; it must be a list, as ["ed25519:..."]')
    for key in value:
        try:
            public_key_bytes(key)
        except (ValueError, TypeError, AttributeError):
            raise UsageError(f"trusted_keys ({origin}) holds {key!r}; a key is a line of `edge-cxr bundle keygen`, "
                             "as ed25519:<44 characters>") from None  # fmt: skip
    return tuple(value)
