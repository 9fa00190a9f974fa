"""Detectors that train an encoder on the inliers' images themselves, and take images in place of features."""

from skcnf.detectors.images._base import BaseImageDetector
from skcnf.detectors.images._csi import CSIDetector
from skcnf.detectors.images._rot_trans import RotTransDetector

__all__ = ["BaseImageDetector", "CSIDetector", "RotTransDetector"]
