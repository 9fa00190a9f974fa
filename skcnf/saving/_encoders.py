"""The kind of attribute that holds an encoder of this package."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from skcnf.moco import EncoderSpec, rebuild_encoder
from skcnf.saving._kinds import Kind, Store, require

__all__ = ["Encoder"]


@dataclass(frozen=True)
class Encoder(Kind):
    """An encoder of `skcnf.moco.build_encoder`; its widths are sizes of axes.

    Parameters
    ----------
    trunk, outputs : str
        The symbols of the widths before and behind its head.
    n_outputs : int or None, default=None
        What the latter must be.
    """

    trunk: str
    outputs: str
    n_outputs: int | None = None

    def store(self, value: Any, name: str, store: Store) -> dict[str, Any]:
        """As its spec, and the tensors of its state."""
        spec = self._agreed(value, store)
        for key, tensor in value.state_dict().items():
            store.put(f"{name}/{key}", tensor)
        return asdict(spec)

    def restore(self, data: Any, name: str, store: Store) -> nn.Module:
        """Checked, rebuilt, in evaluation mode and without gradients."""
        encoder = rebuild_encoder(data, store.take_all(name))
        self._agreed(encoder, store)
        return encoder.requires_grad_(False)

    def _agreed(self, encoder: Any, store: Store) -> EncoderSpec:
        """The spec of an encoder whose widths are held against other axes."""
        spec = getattr(encoder, "spec", None)
        if not isinstance(spec, EncoderSpec):
            raise ValueError("it is no encoder of this package.")
        found = f"it gives {spec.out_features} numbers, not {self.n_outputs}"
        require(self.n_outputs in (None, spec.out_features), found)
        store.agree(self.trunk, spec.trunk_features)
        store.agree(self.outputs, spec.out_features)
        return spec
