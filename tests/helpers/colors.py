"""Colors as people see them: contrast, and how far apart two are, also with a deficient color vision."""

import numpy as np


# Of linear RGB, at full severity (Machado, Oliveira and Fernandes, 2009)
DEFICIENCIES = {
    "none": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


def parse_hex(text: str) -> tuple[int, ...]:
    """`#rrggbb` as three numbers up to 255."""
    return tuple(int(text[at : at + 2], 16) for at in (1, 3, 5))


def _linear(color) -> np.ndarray:
    values = np.array(list(color)) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def luminance(color) -> float:
    """The relative luminance of WCAG 2."""
    return float(_linear(color) @ [0.2126, 0.7152, 0.0722])


def contrast(one, two) -> float:
    """The ratio of WCAG 2."""
    light, dark = sorted((luminance(one), luminance(two)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def lab(color, vision: str = "none") -> np.ndarray:
    """A color in CIELAB as someone with this color vision sees it."""
    seen = np.clip(np.array(DEFICIENCIES[vision]) @ _linear(color), 0, 1)
    x, y, z = (
        np.cbrt(value) if value > 216 / 24389 else (24389 / 27 * value + 16) / 116
        for value in _XYZ @ seen / [0.95047, 1, 1.08883]
    )
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])
