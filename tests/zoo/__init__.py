"""Models of torchvision, transformers and torch, small enough for tests.

Importing this package makes the two libraries importable where torchvision's binary is compiled for CUDA and torch is
not: its import would stop at operators that the binary could not define. No model here uses them.
"""

import sys
from importlib.metadata import version

import torch
from torch.library import Library

_OPERATORS = (
    "nms", "qnms", "roi_align", "_roi_align_backward", "ps_roi_align", "_ps_roi_align_backward", "roi_pool",
    "_roi_pool_backward", "ps_roi_pool", "_ps_roi_pool_backward", "qroi_align", "deform_conv2d",
    "_deform_conv2d_backward",
)  # fmt: skip

# The library must outlive the import: its end takes the schemas with it.
_library = Library("torchvision", "FRAGMENT")

if sys.platform == "linux" and torch.version.cuda is None and "+" not in version("torchvision"):
    for _name in _OPERATORS:
        _library.define(f"{_name}(Tensor x) -> Tensor")
