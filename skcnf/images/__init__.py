"""Images from wherever users keep them: folders, zips, arrays and Datasets, as batches of one size."""

from skcnf.images._archives import IMAGE_SUFFIXES, ZipImages, open_archive, read_sheets
from skcnf.images._augmentation import Augmentation, Draws
from skcnf.images._batches import as_tensor, count_workers, iter_batches, load_images, progress
from skcnf.images._sources import digest, image_source, list_images
from skcnf.images._transforms import resize_and_crop, standardize_images

__all__ = [
    "IMAGE_SUFFIXES",
    "Augmentation",
    "Draws",
    "ZipImages",
    "as_tensor",
    "count_workers",
    "digest",
    "image_source",
    "iter_batches",
    "list_images",
    "load_images",
    "open_archive",
    "progress",
    "read_sheets",
    "resize_and_crop",
    "standardize_images",
]
