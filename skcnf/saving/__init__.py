"""Fitted detectors and pipelines as files that hold no code."""

from skcnf.saving._bundles import NotSavableError, check_savable, info, load, load_thumbnails, save

# The names of version 0.1
load_detector, save_detector = load, save

__all__ = [
    "NotSavableError",
    "check_savable",
    "info",
    "load",
    "load_detector",
    "load_thumbnails",
    "save",
    "save_detector",
]
