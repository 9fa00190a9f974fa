"""Read images from folders, zips, arrays, Datasets and streams, and hand them out in batches of one size."""

from skcnf.images._archives import ZipImages, archive_members, open_archive, read_sheets
from skcnf.images._augmentation import Augmentation, Draws
from skcnf.images._batches import count_threads, iter_batches, load_images
from skcnf.images._decoding import read_image
from skcnf.images._formats import IMAGE_SUFFIXES
from skcnf.images._grid import TileGrid
from skcnf.images._sources import ImageSource, digest, image_source, is_stream, item_names, list_images
from skcnf.images._streams import DecodedImage, decoded_batches, iter_decoded, stack_images
from skcnf.images._transforms import as_tensor, resize_and_crop, resize_image, standardize_images
from skcnf.images._values import Intensity, check_intensity

__all__ = [
    "IMAGE_SUFFIXES",
    "Augmentation",
    "DecodedImage",
    "Draws",
    "ImageSource",
    "Intensity",
    "TileGrid",
    "ZipImages",
    "archive_members",
    "as_tensor",
    "check_intensity",
    "count_threads",
    "decoded_batches",
    "digest",
    "image_source",
    "is_stream",
    "item_names",
    "iter_batches",
    "iter_decoded",
    "list_images",
    "load_images",
    "open_archive",
    "read_image",
    "read_sheets",
    "resize_and_crop",
    "resize_image",
    "stack_images",
    "standardize_images",
]
