"""Fitted models for other runtimes: ONNX files that score without torch."""

from skcnf.exporting._onnx import export_onnx

__all__ = ["export_onnx"]
