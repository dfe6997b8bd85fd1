"""Where work that is stopped is kept, and what tells it from all other."""

from __future__ import annotations

import json
import os
import zlib
from typing import Any, Mapping, Optional, Tuple, Union

import numpy as np

from brenier import _brenier
from brenier._arrays import host

Path = Union[None, str, "os.PathLike[str]"]


def kept(path: Path, function: str, inputs: Mapping[str, Any]) -> Optional[Tuple[str, str]]:
    """The file, and the inputs of a run in JSON, of arrays their check sums; None where nothing is kept."""
    if path is None:
        return None
    run = {"command": function, "version": _brenier.__version__}
    run.update({name: _told(value) for name, value in inputs.items() if name not in ("progress", "checkpoint")})
    return os.fspath(path), json.dumps(run)


def _told(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)) and not hasattr(value, "dtype"):
        return [_told(item) for item in value]
    if callable(value) or not (hasattr(value, "__array__") or hasattr(value, "__dlpack__")):
        return type(value).__name__
    array = np.ascontiguousarray(host(value))
    return f"{array.dtype} {array.shape} {zlib.crc32(array.tobytes()):08x}"
