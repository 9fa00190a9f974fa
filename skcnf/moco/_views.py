"""Augmented views of the images of a pretraining run."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from skcnf.images import Draws, as_tensor, resize_and_crop, standardize_images
from skcnf.moco._encoders import EncoderSpec
from skcnf.moco._recipe import PretrainConfig

__all__ = ["ImageViews"]


class ImageViews:
    """The images of a run, on its device where they fit, and views of them.

    Parameters
    ----------
    images : ndarray of shape (n, h, w, 3), dtype uint8
        Moved to the device where they fill at most half of its free memory; a memory map stays where it is.
    spec : EncoderSpec
        Tells size, mean and standard deviation of the views.
    config : PretrainConfig
        Tells the augmentation and the sizes on the way.
    device : torch.device
    """

    def __init__(self, images: np.ndarray, spec: EncoderSpec, config: PretrainConfig, device: torch.device) -> None:
        self.spec, self.config, self.device = spec, config, device
        fit = device.type == "cuda" and images.nbytes < torch.cuda.mem_get_info(device)[0] / 2
        self.images = as_tensor(images).to(device if fit and not isinstance(images, np.memmap) else "cpu")

    def __len__(self) -> int:
        return len(self.images)

    def of(self, rows: Tensor, draws: Draws, epoch: int) -> Tensor:
        """One standardised view (n, 3, s, s) of each of the images ``rows`` (n,)."""
        images = self.images[rows.to(self.images.device)].to(self.device).permute(0, 3, 1, 2)
        if self.config.low_res_size is not None:
            images = resize_and_crop(images, self.config.low_res_size)
        images = resize_and_crop(images, self.spec.image_size)
        size = self.config.early_size if epoch < self.config.early_epochs else None
        view = self.config.augmentation.apply(images.float() / 255, draws, size)
        view = standardize_images(view, self.spec.mean, self.spec.std)
        return view.contiguous(memory_format=torch.channels_last)
