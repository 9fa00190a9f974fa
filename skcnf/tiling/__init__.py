"""Small defects in large images: detectors that judge an image by its tiles."""

from skcnf.tiling._detector import TiledDetector
from skcnf.tiling._encoder import TileEncoder
from skcnf.tiling._map import TileMap

__all__ = ["TileEncoder", "TileMap", "TiledDetector"]
