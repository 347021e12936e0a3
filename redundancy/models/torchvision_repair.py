"""Import torchvision where its compiled library does not match the build of torch.

The registry's torchvision wheel is compiled for the CUDA build of torch. Beside a CPU build its library does not load,
and `import torchvision` fails with "operator torchvision::nms does not exist", because two detection operators that the
library would have declared get fake kernels. Video processors never call them; declaring them is enough. This is the
only place that does so, only in that case, and it must run before transformers imports a video processor.
"""

from __future__ import annotations

import sys

import torch

_declared: list[torch.library.Library] = []


def import_torchvision() -> None:
    """Import torchvision; where only the detection operators are missing, declare them and import again.

    Raises
    ------
    ImportError
        If torchvision is not installed.
    RuntimeError
        If the import fails for another reason.
    """
    if "torchvision" in sys.modules:
        return
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        for name in [m for m in sys.modules if m.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
        for operator in ("nms", "qnms"):
            schema = f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            library.define(schema)  # type: ignore[no-untyped-call]
        _declared.append(library)  # the declaration lives as long as this object
        import torchvision  # noqa: F401
