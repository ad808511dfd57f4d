"""Plots for light and dark pages: drawn twice, once in each palette; the page shows the one that fits.

Text is drawn as shapes, so no font is needed, and the same plot always gives the same bytes.
"""

import base64
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any, Literal

import matplotlib
from cycler import cycler
from matplotlib import pyplot as plt

from llmlib.figures.palette import DARK, LIGHT, Palette

Format = Literal["svg", "png"]

CSS = """
.llmlib-picture img { max-width: 100%; height: auto; background: none; }
.llmlib-picture img.only-dark { display: none; }
html[data-theme="dark"] .llmlib-picture img.only-dark,
body[data-jp-theme-light="false"] .llmlib-picture img.only-dark { display: inline; }
html[data-theme="dark"] .llmlib-picture img.only-light,
body[data-jp-theme-light="false"] .llmlib-picture img.only-light { display: none; }
@media print {
  html .llmlib-picture.llmlib-picture img.only-light { display: inline !important; }
  html .llmlib-picture.llmlib-picture img.only-dark { display: none !important; }
}
"""


@dataclass(frozen=True)
class Picture:
    """A plot in both themes, which a notebook displays when it is the last expression of a cell.

    Attributes:
        light: the plot for light pages, as a ``data:`` address.
        dark: the plot for dark pages.
        alt: what it shows, in words.
    """

    light: str
    dark: str
    alt: str

    def html(self) -> str:
        """Two ``<img>``, of which the page's theme hides one."""
        images = (
            f'<img class="only-{theme}" src="{source}" alt="{escape(self.alt)}">'
            for theme, source in (("light", self.light), ("dark", self.dark))
        )
        return f'<div class="llmlib-picture">{"".join(images)}</div>'

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str]:
        return {"text/html": f"<style>{CSS}</style>{self.html()}", "text/plain": self.alt}


def themed(
    draw: Callable[..., object],
    alt: str,
    *,
    format: Format = "svg",  # noqa: A002
    **subplots: Any,
) -> Picture:
    """Draw a plot for both themes.

    Args:
        draw: gets the axes (what ``plt.subplots`` returns beside the figure) and draws on them. It is called twice, so
            it must not draw random numbers: compute first, then draw.
        alt: what the plot shows, for readers who do not see it.
        format: ``"svg"`` is sharp at every size; ``"png"`` is smaller where there are many thousand points.
        **subplots: for ``plt.subplots``, for example ``figsize=(6, 3)`` in inches or ``ncols=2``.

    Returns:
        The picture; as the last expression of a cell it is displayed.

    Raises:
        ValueError: the alt text is empty, or the format is not known.
    """
    if not alt.strip():
        raise ValueError(
            "a plot needs alt text: say in a sentence what it shows, alt='Loss falls from 9 to 4 ...'"
        )
    if format not in ("svg", "png"):
        raise ValueError(f"format must be 'svg' or 'png', not {format!r}")
    light, dark = (_draw(draw, palette, format, subplots) for palette in (LIGHT, DARK))
    return Picture(light, dark, alt)


def style(palette: Palette) -> dict[str, Any]:
    """Matplotlib's settings for a palette.

    Args:
        palette: ``LIGHT`` or ``DARK`` of :mod:`llmlib.figures.palette`.
    """
    text = dict.fromkeys(("text.color", "axes.labelcolor", "axes.titlecolor"), palette.text)
    return {
        **text,
        "axes.edgecolor": palette.muted,
        "axes.facecolor": "none",
        "axes.grid": True,
        "axes.prop_cycle": cycler(color=palette.series),
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlelocation": "left",
        "figure.constrained_layout.use": True,
        "figure.dpi": 100,
        "figure.facecolor": "none",
        "figure.figsize": (6.4, 3.6),
        "font.size": 11,
        "grid.alpha": 0.6,
        "grid.color": palette.line,
        "grid.linewidth": 0.6,
        "legend.frameon": False,
        "lines.linewidth": 2,
        "savefig.dpi": 200,
        "svg.fonttype": "path",
        "svg.hashsalt": "llmlib",
        "xtick.color": palette.muted,
        "xtick.labelcolor": palette.text,
        "ytick.color": palette.muted,
        "ytick.labelcolor": palette.text,
    }


def _draw(draw: Callable[..., object], palette: Palette, format: Format, subplots: Mapping[str, Any]) -> str:  # noqa: A002
    file = io.BytesIO()
    settings: dict[Any, Any] = {**matplotlib.rcParamsDefault, **style(palette)}
    with plt.rc_context(settings):
        figure, axes = plt.subplots(**subplots)
        try:
            draw(axes)
            figure.savefig(
                file, format=format, transparent=True, metadata={"Date": None} if format == "svg" else None
            )
        finally:
            plt.close(figure)
    mime = {"svg": "image/svg+xml", "png": "image/png"}[format]
    return f"data:{mime};base64,{base64.b64encode(file.getvalue()).decode()}"
