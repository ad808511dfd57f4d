"""What the laws and the fits refuse: numbers that no run can have."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def positive(name: str, values: ArrayLike, *, infinite: bool = False) -> NDArray[np.float64]:
    """The values as an array of numbers, all of them above 0.

    Args:
        name: What they are, for the error.
        values: A number, or an array or list of numbers.
        infinite: Whether they may be infinite.

    Raises:
        ValueError: A value is not positive, infinite where it may not be, or no number (NaN).
        TypeError: The values are not numbers.
    """
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a number or an array of numbers, but is {values!r}.") from None
    good = (array > 0) & (infinite | np.isfinite(array))
    if not np.all(good):
        bad = np.atleast_1d(array)[~np.atleast_1d(good)]
        raise ValueError(
            f"{name} must be {'above 0' if infinite else 'above 0 and finite'}, but {bad.size} of {array.size} "
            f"values are not, the first being {bad[0]:g}: leave such runs out."
        )
    return array
