"""Weights to one ONNX graph, and graphs to a model bundle."""
