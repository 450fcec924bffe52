"""Asks a Prometheus server over HTTP."""

import json
import math
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_TIMEOUT_S = 30.0


class NoAnswer(Exception):
    """The server is not there, or refused the expression; the message has its words."""


@dataclass(frozen=True)
class Series:
    """samples: (Unix time in seconds, value), without those that are no number."""

    labels: Mapping[str, str]
    samples: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Prometheus:
    """url: as http://127.0.0.1:9090."""

    url: str

    def now(self, expr: str, at_s: float | None = None) -> list[Series]:
        """at_s: Unix time, the server's by default."""
        return _series(self._get("query", {"query": expr, **({} if at_s is None else {"time": at_s})}))

    def over(self, expr: str, start_s: float, end_s: float, step_s: float) -> list[Series]:
        return _series(self._get("query_range", {"query": expr, "start": start_s, "end": end_s, "step": step_s}))

    def rules(self) -> list[dict[str, Any]]:
        """As the server tells of them: each with name, query, health and, if it failed, lastError."""
        return [rule for group in self._get("rules", {})["groups"] for rule in group["rules"]]

    def _get(self, what: str, asked: Mapping[str, object]) -> Any:
        url = f"{self.url}/api/v1/{what}?{urllib.parse.urlencode(asked)}"
        try:
            with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as fault:
            told = json.loads(fault.read() or b"{}").get("error", fault.reason)
            raise NoAnswer(f"Prometheus refused {asked.get('query', what)!r}: {told}") from None
        except OSError as fault:
            raise NoAnswer(
                f"no Prometheus answers at {self.url} ({fault}); give its address with --prometheus"
            ) from None


def _series(found: Any) -> list[Series]:
    told = []
    for one in found["result"]:
        pairs = one["values"] if "values" in one else [one["value"]]
        samples = tuple((float(at), float(value)) for at, value in pairs)
        told.append(Series(one["metric"], tuple(pair for pair in samples if not math.isnan(pair[1]))))
    return told
