"""The colours of the book's figures, one set for light pages and one for dark, shared by plots and live figures.

The series colours keep apart under protanopia, deuteranopia and tritanopia (simulated after Machado et al., 2009), and
each has a contrast of at least 4.5 to 1 with the page, so that they also serve for text.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Palette:
    """The colours of one theme, as ``#rrggbb``.

    Attributes:
        page: the background that the colours are made for.
        text: words, ticks and axes.
        muted: what matters less.
        line: grids and borders.
        series: one colour for each curve, in the order of use.
    """

    page: str
    text: str
    muted: str
    line: str
    series: tuple[str, ...]


LIGHT = Palette(
    page="#ffffff",
    text="#222832",
    muted="#48566b",
    line="#d1d5da",
    series=("#0672d3", "#863c13", "#148351", "#b820a3", "#946705"),
)
DARK = Palette(
    page="#14181e",
    text="#ced6dd",
    muted="#9ca4af",
    line="#48566b",
    series=("#39a0f6", "#e0a370", "#6cf0bd", "#e96fb4", "#e2d95c"),
)


# What the book's theme and JupyterLab call the colours that a figure takes over from its surroundings.
_SURROUNDINGS = {
    "page": ("--pst-color-background", "--jp-layout-color0"),
    "text": ("--pst-color-text-base", "--jp-content-font-color1"),
    "muted": ("--pst-color-text-muted", "--jp-content-font-color2"),
    "line": ("--pst-color-border", "--jp-border-color1"),
}


def css(scope: str) -> str:
    """The palette as CSS variables: ``--page``, ``--text``, ``--muted``, ``--line``, ``--series-1`` and on.

    Inside the book or JupyterLab the first four are those of the theme in force there; the series colours are ours
    everywhere. Paper is always light.

    Args:
        scope: the selector of the elements that get the variables.
    """
    dark = f'html[data-theme="dark"] {scope}, body[data-jp-theme-light="false"] {scope}'
    return (
        f"{scope} {{ {_variables(LIGHT, _SURROUNDINGS)} }}\n"
        f"{dark} {{ {_variables(DARK, _SURROUNDINGS)} }}\n"
        f"@media print {{ {scope}, {dark} {{ {_variables(LIGHT, {})} }} }}\n"
    )


def _variables(palette: Palette, surroundings: dict[str, tuple[str, str]]) -> str:
    colours = {"page": palette.page, "text": palette.text, "muted": palette.muted, "line": palette.line}
    for name, (book, lab) in surroundings.items():
        colours[name] = f"var({book}, var({lab}, {colours[name]}))"
    colours |= {f"series-{number}": colour for number, colour in enumerate(palette.series, start=1)}
    return " ".join(f"--{name}: {colour};" for name, colour in colours.items())
