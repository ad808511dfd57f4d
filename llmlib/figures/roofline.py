"""The roofline of Chapter 6: what a machine can reach at an arithmetic intensity, and which side is the limit."""

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import traitlets

from llmlib.figures.live import LiveFigure, script, stylesheet

if TYPE_CHECKING:
    from llmlib.attention.cost import Machine, Work

OPERATIONS = ("Matrix product", "Softmax", "Textbook attention", "Flash attention", "Any intensity")
WIDTHS = (32, 64, 128, 256)
_POWERS = {"length": (256, 131_072), "rows": (16, 1024)}


class Roofline(LiveFigure):
    """A roof for each machine, and an operation below it: does it wait for arithmetic or for bytes?

    Williams, Waterman and Patterson 2009. The page computes with the formulas of :mod:`llmlib.attention.cost`. Each
    machine has numbers of its own size, which are those that an operation moves there.

    Args:
        machines: one or several; by default the H100 as published.
        machine: the index of the one that is chosen.
        operation: one of :data:`OPERATIONS`.
        length: n, a power of two from 256 to 131,072.
        width: D, one of :data:`WIDTHS`.
        rows: queries of a tile, a power of two from 16 to 1,024.
        intensity: FLOP/byte, from 0.1 to 100,000, where the operation is any.

    Attributes:
        machine: changes as the reader chooses, as do all others.
        operation: see above.
        length: see above.
        width: see above.
        rows: see above.
        intensity: see above.

    Raises:
        ValueError: there are no machines, or a setting is out of range.
    """

    _esm = script("chart.js", "roofline.js")
    _css = stylesheet("chart.css", "roofline.css")
    label = traitlets.Unicode("The roofline").tag(sync=True)
    machines: "traitlets.List[Any]" = traitlets.List().tag(sync=True)
    operations = traitlets.List(traitlets.Unicode(), list(OPERATIONS)).tag(sync=True)
    widths = traitlets.List(traitlets.Int(), list(WIDTHS)).tag(sync=True)
    per_score = traitlets.Int().tag(sync=True)
    machine = traitlets.Int().tag(sync=True)
    operation = traitlets.Unicode().tag(sync=True)
    length = traitlets.Int().tag(sync=True)
    width = traitlets.Int().tag(sync=True)
    rows = traitlets.Int().tag(sync=True)
    intensity = traitlets.Float().tag(sync=True)

    def __init__(
        self,
        machines: "Sequence[Machine] | None" = None,
        *,
        machine: int = 0,
        operation: str = "Textbook attention",
        length: int = 4096,
        width: int = 64,
        rows: int = 128,
        intensity: float = 10.0,
    ) -> None:
        from llmlib.attention import cost

        machines = (cost.H100,) if machines is None else machines
        if not 0 <= machine < len(machines):
            raise ValueError(
                f"machine must be the index of one of the {len(machines)} machines, not {machine}"
            )
        self._machines = list(machines)
        super().__init__(
            machines=[
                {"name": m.name, "flops": m.flops, "bandwidth": m.bandwidth, "itemsize": m.itemsize}
                for m in machines
            ],
            per_score=cost.PER_SCORE,
            machine=machine,
            operation=operation,
            length=length,
            width=width,
            rows=rows,
            intensity=intensity,
        )

    @traitlets.validate("operation", "width")
    def _check_choice(self, proposal: dict[str, Any]) -> Any:
        name, value = proposal["trait"].name, proposal["value"]
        possible = OPERATIONS if name == "operation" else WIDTHS
        if value not in possible:
            raise ValueError(f"{name} must be one of {', '.join(map(str, possible))}, not {value!r}")
        return value

    @traitlets.validate("length", "rows")
    def _check_power(self, proposal: dict[str, Any]) -> int:
        name, value = proposal["trait"].name, proposal["value"]
        low, high = _POWERS[name]
        if not low <= value <= high or value & (value - 1):
            raise ValueError(f"{name} must be a power of two from {low} to {high:,}, not {value}")
        return value

    @traitlets.validate("intensity")
    def _check_intensity(self, proposal: dict[str, float]) -> float:
        if not 0.1 <= proposal["value"] <= 1e5:
            raise ValueError(f"intensity must be from 0.1 to 100,000 FLOP/byte, not {proposal['value']}")
        return proposal["value"]

    def work(self, machine: "Machine | None" = None) -> "Work | None":
        """What the operation costs; None for any intensity.

        Args:
            machine: whose size of numbers counts; by default the chosen machine's.
        """
        from llmlib.attention import cost

        itemsize = (machine or self._machines[self.machine]).itemsize
        if self.operation == "Matrix product":
            return cost.matrix_product(self.length, itemsize)
        if self.operation == "Softmax":
            return cost.softmax(self.length, itemsize)
        if self.operation == "Textbook attention":
            return cost.textbook(self.length, self.width, itemsize)
        if self.operation == "Flash attention":
            return cost.flash(self.length, self.width, itemsize, self.rows)
        return None

    def still(self) -> str:
        """The intensity of the operation, and what each machine can reach there."""
        rows = ""
        for machine in self._machines:
            work = self.work(machine)
            intensity = self.intensity if work is None else work.intensity
            limit = "arithmetic" if intensity >= machine.ridge else "memory"
            rows += (
                f"<tr><th>{escape(machine.name)}</th><td>{machine.ridge:,.1f}</td><td>{intensity:,.3g}</td>"
                f"<td>{machine.attainable(intensity) / 1e12:,.3g}</td><td>{limit}</td></tr>"
            )
        return (
            f"<table><caption>{escape(self.operation)}</caption><tr><th>Machine</th><th>Ridge, FLOP/byte</th>"
            f"<th>Intensity, FLOP/byte</th><th>At most, TFLOP/s</th><th>Limit</th></tr>{rows}</table>"
        )
