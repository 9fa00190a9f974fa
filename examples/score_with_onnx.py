"""
Scores without torch
====================

Scores image files with a model of `skcnf.exporting.export_onnx`; it needs onnxruntime, NumPy and Pillow alone::

    python examples/score_with_onnx.py model.onnx image.png [image.jpg ...]

Pillow resizes here, and torchvision does in `MocoFeaturizer`: where an image has another size than the encoder's, a
pixel may differ by a grey level, and the score a little. `MocoFeaturizer` also lays transparent images over white,
where this drops the transparency, and it scales images of 16 bits, which this does not take.
"""

import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
size = session.get_inputs()[0].shape[-1]
for path in sys.argv[2:]:
    upright = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    side = min(upright.size)
    left, top = (upright.width - side) // 2, (upright.height - side) // 2
    square = upright.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.BILINEAR)
    pixels = np.asarray(square).transpose(2, 0, 1)[None]
    score, p_value, verdict = session.run(["score", "p_value", "verdict"], {"images": pixels})
    print(f"{path},{float(score[0])!r},{float(p_value[0])!r},{verdict[0]}")
