"""Draws the history of benches: python -m flashsale.bench.plot HISTORY PNG.

One panel for each metric that has a target: its ratio over time, by processor, with the target as a line. Needs
matplotlib; make bench-plot brings it.
"""

import re
import sys
from collections import defaultdict
from datetime import datetime
from pathlib import Path
from typing import Final

from flashsale.bench.history import Past, read
from flashsale.bench.report import TARGETS
from flashsale.errors import BadInputError, FlashsaleError

_COLUMNS: Final = 3
_INCHES: Final = (4.6, 2.6)
Series = dict[str, list[tuple[datetime, float]]]


def series(history: list[Past]) -> dict[str, Series]:
    """What is drawn: metric to processor to points in time. Of bytes the value is taken, else the ratio. Raises
    BadInputError when no metric in it has a target."""
    found: dict[str, Series] = defaultdict(lambda: defaultdict(list))
    for past in history:
        for name, metric in past.metrics.items():
            if name in TARGETS:
                figure = metric["value"] if in_bytes(name) else metric["ratio"]
                found[name][past.processor].append((past.at, float(figure)))
    if not found:
        raise BadInputError("There is nothing to draw: no metric in the history has a target")
    return {name: dict(found[name]) for name in TARGETS if name in found}


def in_bytes(name: str) -> bool:
    """Whether a metric's target is bytes, not a ratio."""
    return TARGETS[name].endswith("bytes")


def target(name: str) -> float:
    """The number in a metric's target."""
    (number,) = re.findall(r"[\d.]+", TARGETS[name])
    return float(number)


def draw(drawn: dict[str, Series], file: Path) -> None:
    """Make the picture. Raises BadInputError without matplotlib."""
    try:
        import matplotlib as mpl  # noqa: PLC0415 -- large, and only wanted here

        mpl.use("Agg")
        from matplotlib import pyplot  # noqa: PLC0415
    except ImportError as missing:
        raise BadInputError("matplotlib is missing; make bench-plot brings it") from missing
    rows = -(-len(drawn) // _COLUMNS)
    figure, axes = pyplot.subplots(
        rows, _COLUMNS, figsize=(_INCHES[0] * _COLUMNS, _INCHES[1] * rows), squeeze=False, layout="constrained"
    )
    panels = list(axes.flat)
    for panel, (name, by_processor) in zip(panels, drawn.items(), strict=False):
        for processor, points in sorted(by_processor.items()):
            panel.plot(*zip(*points, strict=True), marker="o", label=processor)
        panel.axhline(target(name), linestyle="--", color="grey")
        panel.set_title(f"{name} {TARGETS[name]}", fontsize=9)
        panel.set_ylabel("bytes" if in_bytes(name) else "ratio", fontsize=8)
        panel.set_ylim(bottom=0)
        panel.tick_params(labelsize=7, axis="both")
        panel.tick_params(axis="x", rotation=30)
    for panel in panels[len(drawn) :]:
        panel.set_visible(False)
    panels[0].legend(fontsize=7)
    figure.savefig(file, dpi=110)


def main() -> None:
    """Draw the first argument into the second."""
    try:
        history, file = map(Path, sys.argv[1:])
    except ValueError:
        sys.exit("usage: python -m flashsale.bench.plot HISTORY.jsonl PICTURE.png")
    try:
        draw(series(read(history)), file)
    except FlashsaleError as fault:
        sys.stderr.write(f"{fault}\n")
        sys.exit(fault.exit_status)


if __name__ == "__main__":
    main()
