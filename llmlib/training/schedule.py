"""How the learning rate rises and falls while a model is trained (Chapter 3)."""

import math
from typing import Literal, get_args

Schedule = Literal["constant", "linear", "cosine", "warmup-stable-decay"]
SCHEDULES: tuple[str, ...] = get_args(Schedule)


def learning_rate_factor(
    schedule: Schedule, progress: float, *, warmup: float = 0.0, decay: float = 0.2
) -> float:
    """The share of the peak learning rate at a point of the training (Chapter 3).

    Every schedule first rises from 0 to 1 in a straight line. Then ``constant`` stays at 1, ``linear`` falls
    to 0 in a straight line (Bergsma et al. 2025, arXiv 2502.15938), ``cosine`` falls to 0 along half a cosine
    (Loshchilov and Hutter 2017, arXiv 1608.03983, eq. 5), and ``warmup-stable-decay`` stays at 1 until its
    last part, which falls to 0 in a straight line (Hu et al. 2024, arXiv 2404.06395, section 4).

    Progress is a share and not a number of steps, so that a budget in seconds has the same schedules.

    Args:
        schedule: Its name.
        progress: The share of the budget that is spent, from 0 to 1.
        warmup: The share of the budget in which the rate rises, from 0 up to but not 1.
        decay: The share of the budget in which ``warmup-stable-decay`` falls. With ``warmup`` at most 1.

    Returns:
        A factor from 0 to 1.

    Raises:
        ValueError: The schedule is unknown, or a share is not within its bounds.

    >>> [learning_rate_factor("linear", progress, warmup=0.5) for progress in (0, 0.25, 0.5, 0.75, 1)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"The schedule {schedule!r} is unknown. Choose one of {', '.join(SCHEDULES)}.")
    if not 0 <= progress <= 1:
        raise ValueError(f"progress is a share of the budget, from 0 to 1, but it is {progress}.")
    if not 0 <= warmup < 1:
        raise ValueError(f"warmup is a share of the budget, at least 0 and below 1, but it is {warmup}.")
    if not (decay > 0 and warmup + decay <= 1):
        raise ValueError(
            f"decay is a share of the budget, above 0 and at most 1 - warmup = {1 - warmup:g}, but it is "
            f"{decay}."
        )
    if progress < warmup:
        return progress / warmup
    left = (1 - progress) / (1 - warmup)  # of the part after the warm-up: from 1 to 0
    if schedule == "linear":
        return left
    if schedule == "cosine":
        return (1 + math.cos(math.pi * (1 - left))) / 2
    if schedule == "warmup-stable-decay":
        return min(1.0, (1 - progress) / decay)
    return 1.0
