"""The palette can be read and told apart, by the measures of WCAG 2.1 and of Machado et al. (2009)."""

from itertools import combinations

import numpy as np
import pytest

from llmlib.figures.palette import DARK, LIGHT, css

SIMULATION = {  # severity 1.0, linear RGB
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
NOTICEABLE = 12  # a difference of 2.3 is just noticeable between large fields side by side; lines need more


def linear(colour: str) -> np.ndarray:
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    x, y, z = np.cbrt(TO_XYZ @ rgb.clip(0, 1) / [0.95047, 1, 1.08883])  # exact for all but near-black
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def contrast(one: str, other: str) -> float:
    dark, light = sorted(float(TO_XYZ[1] @ linear(colour)) for colour in (one, other))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_words_and_curves_stand_out_from_the_page(palette):
    assert contrast(palette.text, palette.page) >= 7
    assert contrast(palette.muted, palette.page) >= 4.5
    assert min(contrast(colour, palette.page) for colour in palette.series) >= 4.5


@pytest.mark.parametrize("vision", SIMULATION)
@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_curves_can_be_told_apart_whatever_colours_the_reader_sees(palette, vision):
    seen = [lab(np.asarray(SIMULATION[vision]) @ linear(colour)) for colour in palette.series]
    assert min(np.linalg.norm(one - other) for one, other in combinations(seen, 2)) > NOTICEABLE


def test_both_palettes_reach_the_page():
    text = css(".figure")
    for palette in (LIGHT, DARK):
        for number, colour in enumerate(palette.series, start=1):
            assert f"--series-{number}: {colour};" in text
