"""Calibration: an fp32 graph to int8 with explicit Q/DQ, and how far their answers lie apart."""
