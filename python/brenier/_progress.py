"""Progress of long work: a bar of tqdm where it is installed, or the caller's own function."""

from __future__ import annotations

import sys
from typing import Any, Callable, Optional, Union

Tell = Callable[[str, int, Optional[int], Optional[float]], None]
"""Told of (stage, done, of how many or None, the error or value as it is now or None)."""

Progress = Union[None, bool, Tell]


class _Bar:
    """A bar of tqdm, or lines on stderr."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.bar: Any = None
        try:
            from tqdm.auto import tqdm

            self.bar = tqdm(desc=name, leave=False)
        except ImportError:
            pass

    def __call__(self, stage: str, done: int, of: Optional[int], value: Optional[float]) -> None:
        at = "" if value is None else f"{value:.2e}"
        name = f"{self.name}: {stage}" if stage else self.name
        if self.bar is None:
            total = "" if of is None else f" of {of}"
            sys.stderr.write(f"\r{name} {done}{total} {at} ")
            return
        if of is not None:
            self.bar.total = of
        self.bar.n = done
        self.bar.set_description(name, refresh=False)
        self.bar.set_postfix_str(at, refresh=True)

    def close(self) -> None:
        if self.bar is None:
            sys.stderr.write("\n")
        else:
            self.bar.close()


class telling:
    """``with telling(progress, "sinkhorn") as tell``: what the work is given to tell."""

    def __init__(self, progress: Progress, name: str) -> None:
        self.bar = _Bar(name) if progress is True else None
        self.tell = self.bar or (progress if callable(progress) else None)

    def __enter__(self) -> Optional[Tell]:
        return self.tell

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()
