"""Fitted detectors as files that hold no code."""

from skcnf.saving._detectors import load_detector, save_detector

__all__ = ["load_detector", "save_detector"]
