"""Small charts of a history as SVG that follows the colours of the page it is in. Serial."""

from __future__ import annotations

import io
import re

import numpy as np
from numpy.typing import NDArray

#: colours that matplotlib draws in -> what the page calls them
_COLOURS = {"#000001": "var(--ink)", "#000002": "var(--soft)", "#000003": "var(--rule)", "#000004": "var(--one)"}
_COLOURS |= {"#000005": "var(--two)"}
_INK, _SOFT, _RULE, _ONE, _TWO = _COLOURS
STILL = 1e-3  #: relative range of values that are drawn as a straight line
WIDE = 1000  #: iterations that are drawn, at most


def curve(
    title: str, iteration: NDArray, values: NDArray, limit: float | None = None, exact: NDArray | None = None
) -> str:
    """One response over the iterations, its limit dashed, and exact steps marked where not all are (local)."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    keep = np.unique(np.linspace(0, len(iteration) - 1, min(WIDE, len(iteration))).astype(int))
    x, y = iteration[keep], values[keep]
    style = {"svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9.0, "svg.hashsalt": title}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(4.4, 2.5), layout="constrained", facecolor="none")
        FigureCanvasSVG(figure)
        panel = figure.subplots()
        panel.set_facecolor("none")
        panel.plot(x, y, color=_ONE, linewidth=1.4)
        if exact is not None and not exact.all():
            marked = exact & np.isfinite(values)
            panel.plot(iteration[marked], values[marked], "o", color=_TWO, markersize=3)
        finite = y[np.isfinite(y)]
        if limit is not None:
            panel.axhline(limit, color=_TWO, linewidth=1.0, linestyle=(0, (4, 3)))
        if len(finite) and np.ptp(finite) < STILL * abs(finite[-1]):
            panel.set_ylim(*sorted((0.98 * finite[-1], 1.02 * finite[-1])))
        if len(finite) and finite.min() > 0 and finite.max() > 20 * finite.min():
            panel.set_yscale("log")
        else:
            panel.ticklabel_format(axis="y", useOffset=False)
        panel.tick_params(colors=_SOFT, labelsize=8)
        panel.grid(color=_RULE, linewidth=0.6)
        for spine in panel.spines.values():
            spine.set_color(_RULE)
        panel.set_title(_short(title), color=_INK, fontsize=9.5, loc="left")
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return _for_page(out.getvalue())


def _short(title: str) -> str:
    return title if len(title) <= 52 else f"{title[:49]}..."


def _for_page(text: str) -> str:
    """The drawing alone, in the colours of the page, with names that no other drawing has."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\swidth="[^"]*pt"|\sheight="[^"]*pt"', "", text, count=2)
    for colour, name in _COLOURS.items():
        text = text.replace(colour, name)
    return text.replace("sans-serif", "inherit")
