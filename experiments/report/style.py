"""One look for all figures: the colours of the three times, and what a figure is drawn on.

The colours stay apart for the usual kinds of colour blindness (Okabe and Ito's set).
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

DTIMES = {"dtime1_ms": "#E69F00", "dtime2_ms": "#0072B2", "dtime3_ms": "#009E73"}
DTIME_WORDS = {"dtime1_ms": "#A86F00", "dtime2_ms": "#0072B2", "dtime3_ms": "#00795A"}
"""The same as text on white: darker where the colour itself is too light to read."""
DTIME_NAMES = {
    "dtime1_ms": "dtime1: until the FE knows",
    "dtime2_ms": "dtime2: until it has a new master",
    "dtime3_ms": "dtime3: until that one is ready",
}
SERIES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#8C564B")
"""What is compared in one panel, in order."""
LOSS = "#C1272D"
BEACON = "#222222"
INK = "#222222"
FAINT = "#8A8A8A"
GRID = "#E4E4E4"

WIDTH_INCHES = 9.6
PNG_DPI = 160

_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")

_RC: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.hashsalt": "ceha",
}


@contextmanager
def looks() -> Iterator[None]:
    """Draw and save inside of this."""
    with matplotlib.rc_context(_RC):
        yield


def sheet(height_inches: float) -> Figure:
    """An empty figure of the report's width."""
    return Figure(figsize=(WIDTH_INCHES, height_inches), layout="constrained")


def only_x_grid(axes: Axes) -> None:
    """For bars and dots that lie: the reading direction is x."""
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def number(x: float, zeros: int = 3) -> str:
    """On a logarithmic axis: `0`, `100`, `1000`, and `10⁴` where more than that many zeros would
    touch their neighbours."""
    power = round(math.log10(x)) if x > 0 else 0
    if power > zeros and x == 10.0**power:
        return "10" + str(power).translate(_RAISED)
    return f"{x:g}"


def save(figure: Figure, stem: Path) -> str:
    """PNG and SVG beside each other; the SVG as a data URI for the page."""
    stem.parent.mkdir(exist_ok=True)
    figure.savefig(stem.with_suffix(".png"), dpi=PNG_DPI)
    buffer = io.BytesIO()
    metadata: Any = {"Date": None}  # the same records give the same file
    figure.savefig(buffer, format="svg", metadata=metadata)
    stem.with_suffix(".svg").write_bytes(buffer.getvalue())
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()
