"""Momentum contrast: encoder pair, key queue and InfoNCE.

He, Fan, Wu, Xie and Girshick, "Momentum Contrast for Unsupervised Visual Representation Learning", CVPR 2020 (v1);
Chen, Fan, Girshick and He, "Improved Baselines with Momentum Contrastive Learning", arXiv:2003.04297 (v2).
"""

from __future__ import annotations

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["MoCo", "info_nce", "uniformity"]


def info_nce(queries: Tensor, keys: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """InfoNCE of He et al., equation 1: the cross-entropy of telling each query's key from the queue, in nats.

    Parameters
    ----------
    queries, keys : Tensor of shape (n, c)
        Unit vectors; row i of one belongs to row i of the other.
    queue : Tensor of shape (k, c)
        Unit vectors of earlier keys, the negatives.
    temperature : float
        Divides every similarity.

    Returns
    -------
    Tensor of shape ()
        Mean over the queries.
    """
    positive = (queries * keys).sum(1, keepdim=True)  # n x 1
    negative = queries @ queue.T  # n x k
    logits = torch.cat([positive, negative], 1) / temperature
    return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=logits.device))


def uniformity(features: Tensor) -> Tensor:
    """``log mean exp(-2 |f_i - f_j|^2)`` over the pairs of unit vectors (n, c), n >= 2: lower is more even.

    Wang and Isola, "Understanding Contrastive Representation Learning through Alignment and Uniformity on the
    Hypersphere", ICML 2020, with t = 2; 0 where all vectors coincide, -4 + 8 / c where they fill the sphere.
    """
    squared = torch.pdist(features).square()
    return torch.logsumexp(-2 * squared, 0) - math.log(len(squared))


class MoCo(nn.Module):
    """A query encoder, its momentum copy and the queue of keys.

    Parameters
    ----------
    encoder : nn.Module
        Maps images to features (n, out_features).
    out_features : int
        Width of the features.
    queue_size : int
        Number of keys kept as negatives (K of the paper).
    key_momentum : float
        m of the paper's equation 2.
    temperature : float
        tau of the paper's equation 1.
    """

    queue: Tensor
    position: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        out_features: int,
        queue_size: int = 4096,
        key_momentum: float = 0.99,
        temperature: float = 0.1,
    ) -> None:
        super().__init__()
        self.encoder_q = encoder
        self.encoder_k = copy.deepcopy(encoder).requires_grad_(False)
        self.key_momentum = key_momentum
        self.temperature = temperature
        self.register_buffer("queue", F.normalize(torch.randn(queue_size, out_features), dim=1))
        self.register_buffer("position", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def update_key_encoder(self) -> None:
        """Equation 2 of He et al.: ``key <- m key + (1 - m) query``, for parameters."""
        keys: list[Tensor] = list(self.encoder_k.parameters())
        queries: list[Tensor] = list(self.encoder_q.parameters())
        torch._foreach_lerp_(keys, queries, 1 - self.key_momentum)

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> None:
        """Replace the oldest keys by ``keys`` (n, out_features); any n, wrapping around the end."""
        size = len(self.queue)
        slots = (self.position + torch.arange(len(keys), device=keys.device)) % size
        self.queue[slots[-size:]] = keys[-size:]
        self.position.copy_((self.position + len(keys)) % size)

    @torch.no_grad()
    def encode_keys(self, images: Tensor, n_splits: int) -> Tensor:
        """Unit keys (n, out_features) of ``images``, in ``n_splits`` parts with batch statistics of their own."""
        return F.normalize(torch.cat([self.encoder_k(part) for part in images.chunk(n_splits)]).float(), dim=1)
