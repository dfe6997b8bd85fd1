"""Commands that work on files and write a folder: run as processes of their own, as on a command line."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np

from brenier._arrays import Array
from brenier._transport import _lines

Named = Union[str, Path, Array]
"""A name, a file, or an array, which is written to a file first."""


class Figure(str):
    """A figure in SVG: a notebook shows it."""

    def _repr_svg_(self) -> str:
        return str(self)

    def __repr__(self) -> str:
        return f"<Figure of {len(self)} bytes>"


@dataclass(frozen=True, repr=False, eq=False)
class Report:
    """What a command found: its record, and the folder with all that it wrote. A notebook shows the report."""

    record: dict[str, Any]
    """``run.json``; docs/records.md has every key."""
    folder: Path
    """Where files went: arrays, figures, ``report.html``."""
    _kept: Any = field(default=None, compare=False)

    def __getitem__(self, key: str) -> Any:
        return self.record[key]

    def array(self, name: str) -> np.ndarray:
        """An array of the folder: ``samples`` for ``samples.npy``."""
        array: np.ndarray = np.load(self.folder / f"{name}.npy")
        return array

    def figure(self, name: str) -> Figure:
        """A figure of the report, such as ``trajectories``."""
        path = self.folder / "figures" / f"{name}.svg"
        if not path.exists():
            names = ", ".join(sorted(other.stem for other in path.parent.glob("*.svg")))
            raise ValueError(f"there is no figure {name}; the figures are {names or 'none'}")
        return Figure(path.read_text(encoding="utf-8"))

    def _repr_html_(self) -> Optional[str]:
        page = self.folder / "report.html"
        if not page.exists():
            return None
        import html

        # A page of its own, so that its styles stay in it.
        source = html.escape(page.read_text(encoding="utf-8"), quote=True)
        return f'<iframe srcdoc="{source}" style="width: 100%; height: 720px; border: 0" sandbox="allow-scripts"></iframe>'

    def __repr__(self) -> str:
        values = {name: value for name, value in self.record.items() if isinstance(value, (str, int, float)) and name != "inputs"}
        return _lines(f"brenier {self.record.get('command', '')}: {self.folder}", values)


def _flags(options: dict[str, Any], folder: Path) -> list[str]:
    words: list[str] = []
    for name, value in options.items():
        flag = "--" + name.rstrip("_").replace("_", "-")
        if value is None or value is False:
            continue
        if value is True:
            words.append(flag)
        elif isinstance(value, (list, tuple)) and not hasattr(value, "shape"):
            words += [flag, *(_file(item, folder, name) for item in value)]
        else:
            words += [flag, _file(value, folder, name)]
    return words


def _file(value: Any, folder: Path, name: str) -> str:
    """The value as a command line has it; an array is written."""
    if isinstance(value, (str, int, float, Path)):
        return str(value)
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    path = folder / f"{name}-{len(list(folder.glob(f'{name}-*.npy')))}.npy"
    np.save(path, np.asarray(value))
    return str(path)


def command(name: str, *ends: Named, out: Union[None, str, Path] = None, **options: Any) -> Report:
    """``brenier NAME ENDS --option value …`` in a process of its own; arrays go through files, and flags are keywords.

    The folder `out` stays; without it all is kept as long as the result. Ctrl-C stops the work, and ``resume=True`` continues it.
    """
    # Not with the package, of which most uses need neither.
    import subprocess
    import tempfile

    kept = tempfile.TemporaryDirectory(prefix="brenier-")
    inputs = Path(kept.name) / "inputs"
    inputs.mkdir()
    folder = Path(out) if out is not None else Path(kept.name) / "out"
    words = [_file(end, inputs, "points") for end in ends] + _flags(options, inputs)
    done = subprocess.run(
        [sys.executable, "-m", "brenier", name, *words, "--json", "--quiet", "--out", str(folder)], capture_output=True, text=True
    )
    if done.returncode == 130:
        raise KeyboardInterrupt
    if done.returncode != 0:
        sentence = done.stderr.strip().removeprefix("error: ")
        raise ValueError(sentence or f"brenier {name} ended with {done.returncode}")
    return Report(json.loads(done.stdout), folder, kept)


def compare(target: Named, *, out: Union[None, str, Path] = None, **options: Any) -> Report:
    """Diffusion and flow matching to the same target, measured with one ruler; a notebook shows the report. Options are the flags of
    ``brenier compare``: ``compare("8gaussians", steps=[5, 10])``."""
    return command("compare", target, out=out, **options)


def train(target: Named, *, out: Union[None, str, Path] = None, **options: Any) -> Report:
    """Trains a network of brenier's own; options are the flags of ``brenier train``. ``report.folder / "model.safetensors"`` is a field
    for :func:`sample`."""
    return command("train", target, out=out, **options)
