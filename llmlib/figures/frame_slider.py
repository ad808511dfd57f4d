"""A slider over plots that were drawn ahead of time: live on the page for anything that Python can draw."""

from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import traitlets

from llmlib.figures.live import LiveFigure, script, stylesheet
from llmlib.figures.style import CSS, Format, Picture, themed


class Frames(LiveFigure):
    """Plots behind a slider; :func:`frames` draws them.

    Attributes:
        values: the value of each plot, in words.
        pictures: for each plot ``light`` and ``dark`` (``data:`` addresses) and ``alt``.
        index: which plot is shown.
    """

    _esm = script("frame_slider.js")
    _css = stylesheet() + CSS
    values = traitlets.List(traitlets.Unicode()).tag(sync=True)
    pictures = traitlets.List(traitlets.Dict()).tag(sync=True)
    index = traitlets.Int(0).tag(sync=True)

    def still(self) -> str:
        """The plot that is shown, with the value that it is for."""
        picture = Picture(**self.pictures[self.index])
        return f"<p>{escape(self.label)}: {escape(self.values[self.index])}</p>{picture.html()}"


def frames(
    draw: Callable[..., object],
    label: str,
    values: Sequence[Any],
    alt: Callable[[Any], str],
    *,
    start: int = 0,
    format: Format = "svg",  # noqa: A002
    **subplots: Any,
) -> Frames:
    """Draw a plot for each value, and put a slider over them.

    The page carries every plot twice (light and dark): 10 to 20 values are enough, and ``format="png"`` helps where the
    plots are heavy.

    Args:
        draw: gets the axes and a value. It should fix the limits of the axes, or they jump from plot to plot.
        label: what the slider changes.
        values: its stops, in order; each is shown as ``str(value)``.
        alt: gets a value and says what its plot shows, for readers who do not see it.
        start: index of the value that is shown first.
        format: as in :func:`~llmlib.figures.style.themed`.
        **subplots: for ``plt.subplots``.

    Returns:
        The live figure.

    Raises:
        ValueError: there are no values, ``start`` is none of them, or an alt text is empty.
    """
    if not values:
        raise ValueError("frames needs at least one value to draw")
    if not 0 <= start < len(values):
        raise ValueError(f"start must be the index of one of the {len(values)} values, not {start}")
    pictures = [
        themed(lambda axes, value=value: draw(axes, value), alt(value), format=format, **subplots)
        for value in values
    ]
    return Frames(
        label=label,
        values=[str(value) for value in values],
        pictures=[{"light": picture.light, "dark": picture.dark, "alt": picture.alt} for picture in pictures],
        index=start,
    )
