"""Inference backends behind one protocol."""

from edge.engines.base import Engine, Outputs, predict
from edge.engines.opening import open_engine

__all__ = ["Engine", "Outputs", "open_engine", "predict"]
