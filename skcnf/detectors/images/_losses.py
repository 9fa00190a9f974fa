r"""The losses and scores of Rot+Trans and of CSI.

Rot+Trans (Hendrycks, Mazeika, Kadavath and Song, "Using Self-Supervised Learning Can Improve Model Robustness and
Uncertainty", NeurIPS 2019, section 4). A network with three heads tells by which translation :math:`v` down, which
translation :math:`h` to the right and which rotation :math:`r` an image :math:`x` was transformed. It is trained by
the cross-entropies of the heads, and scores by

.. math:: s(x) = \sum_{v, h, r} \log p(v \mid T_{vhr} x) + \log p(h \mid T_{vhr} x) + \log p(r \mid T_{vhr} x)

CSI (Tack, Mo, Jeong and Shin, "CSI: Novelty Detection via Contrastive Learning on Distributionally Shifted
Instances", NeurIPS 2020). Two augmented views of an image should agree, and differ from all others (equation 2),
where every rotation :math:`S` of an image counts as an image of its own (equation 4); a head tells the rotation
(equation 5). With the projection :math:`z`, training images :math:`x_m` and the head's logit :math:`\ell_S`, an image
scores by

.. math:: s(x) = \sum_S \lambda^{con}_S \max_m \cos\big(z(S x_m), z(S x)\big) \, |z(S x)| + \lambda^{cls}_S \ell_S(S x)

(equations 6 to 8), whose weights make each term 1 on average over the training images:
:math:`\lambda^{con}_S = M / \sum_m |z(S x_m)|` and :math:`\lambda^{cls}_S = M / \sum_m \ell_S(S x_m)`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["TRANSFORM_CHOICES", "contrast_and_shift_weights", "csi_score", "nt_xent", "transform_log_likelihood"]

TRANSFORM_CHOICES = (3, 3, 4)  # translations down, translations to the right, rotations


def transform_log_likelihood(logits: Tensor, labels: Tensor) -> Tensor:
    """The log-probability (n,), in nats, of the right transformation: the sum over the three heads.

    Parameters
    ----------
    logits : Tensor of shape (n, 10)
        The heads of `TRANSFORM_CHOICES` side by side.
    labels : Tensor of int of shape (n, 3)
        The right choice of each head.
    """
    heads = zip(logits.split(TRANSFORM_CHOICES, dim=1), labels.unbind(1), strict=True)
    return torch.stack([-F.cross_entropy(head, right, reduction="none") for head, right in heads]).sum(0)


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """SimCLR's loss, equation 2 of Tack et al.: the cross-entropy, in nats, of telling each vector's partner.

    Parameters
    ----------
    first, second : Tensor of shape (n, d)
        Unit vectors; row i of one is the partner of row i of the other, and all other rows of both are negatives.
    temperature : float
        Divides every similarity.

    Returns
    -------
    Tensor of shape ()
        The mean over all 2 n vectors.
    """
    z = torch.cat([first, second])
    similarity = (z @ z.T / temperature).masked_fill(torch.eye(len(z), dtype=torch.bool, device=z.device), -torch.inf)
    partner = torch.arange(len(z), device=z.device).roll(len(first))
    return F.cross_entropy(similarity, partner)


def contrast_and_shift_weights(z: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
    """The weights (k,) and (k,) of equations 7 and 8, from training images under each of k shifts.

    Where a mean logit were negative, its weight would turn the score around, so that the means are of absolute values.
    They are the same where the head has learnt the shifts.

    Parameters
    ----------
    z : Tensor of shape (k, m, d)
        The projections.
    logits : Tensor of shape (k, m)
        The logit of the right shift.
    """
    smallest = torch.finfo(z.dtype).tiny
    return 1 / z.norm(dim=2).mean(1).clamp_min(smallest), 1 / logits.abs().mean(1).clamp_min(smallest)


def csi_score(z: Tensor, logits: Tensor, directions: Tensor, contrast_weights: Tensor, shift_weights: Tensor) -> Tensor:
    """The score (n,) of images under each of k shifts; higher = more normal.

    Parameters
    ----------
    z : Tensor of shape (k, n, d)
        The projections.
    logits : Tensor of shape (k, n)
        The logit of the right shift.
    directions : Tensor of shape (k, m, d)
        The projections of the training images, at unit norm.
    contrast_weights, shift_weights : Tensor of shape (k,)
        See `contrast_and_shift_weights`.
    """
    nearest = (z @ directions.mT).amax(2)  # the cosine times the norm
    return (contrast_weights[:, None] * nearest + shift_weights[:, None] * logits).sum(0)
