"""Why a row or an image has its score: shares of features, heat maps, nearest training images."""

from skcnf.explanations._neighbours import Neighbour, ReferenceImages
from skcnf.explanations._occlusion import OcclusionMap, occlusion_map
from skcnf.explanations._shares import feature_shares

__all__ = ["Neighbour", "OcclusionMap", "ReferenceImages", "feature_shares", "occlusion_map"]
