"""Self-Instruct: a model writes new tasks after the pattern of given ones, and answers them itself (Chapter 12)."""

import math
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from llmlib.adaptation.rouge import rouge_l, words

THRESHOLD = 0.7
"""Wang et al. keep a new instruction if its ROUGE-L with every one in the pool is below this."""


@dataclass(frozen=True)
class Task:
    """An instruction and its answer."""

    instruction: str
    answer: str


@dataclass
class Pool:
    """Seed tasks and those that were added to them (Chapter 12).

    Attributes:
        seeds: The tasks written by people.
        grown: The tasks written by the model, in the order in which they were kept.
        refused: How many candidates were refused, by reason.
    """

    seeds: list[Task]
    grown: list[Task] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)

    def __iter__(self) -> Iterator[Task]:
        yield from self.seeds
        yield from self.grown

    def examples(self, of_seeds: int, of_grown: int, generator: random.Random) -> list[Task]:
        """Tasks to show to the model: so many of each kind, more seeds while few have grown, in mixed order."""
        grown = generator.sample(self.grown, min(of_grown, len(self.grown)))
        seeds = generator.sample(self.seeds, min(of_seeds + of_grown - len(grown), len(self.seeds)))
        shown = seeds + grown
        generator.shuffle(shown)
        return shown

    def objection(self, instruction: str, threshold: float, length: tuple[int, int]) -> str | None:
        """Why an instruction is not taken into the pool; None if it is."""
        if not length[0] <= len(words(instruction)) <= length[1]:
            return "too short or too long"
        if any(rouge_l(instruction, task.instruction) >= threshold for task in self):
            return "too similar"
        return None


def self_instruct(
    seeds: Sequence[Task],
    write: Callable[[list[str], int], str],
    answer: Callable[[str, int], str | None],
    *,
    attempts: int,
    examples: tuple[int, int] = (6, 2),
    threshold: float = THRESHOLD,
    length: tuple[int, int] = (3, 150),
    seed: int = 0,
) -> Pool:
    """Let a model make its own instruction data (Chapter 12).

    Wang et al. 2022, arXiv:2212.10560, section 2.2: show the model some tasks, let it write one more instruction,
    filter, let it answer, and add both to the tasks from which the next are shown. The paper also asks whether a task
    is a classification, to answer those in another order; that step is left out here.

    Args:
        seeds: The tasks to start from.
        write: A new instruction after those it is given, with a seed for its random numbers.
        answer: The answer to an instruction, with such a seed; None if there is none worth keeping.
        attempts: How many instructions are written.
        examples: How many seed tasks and how many grown ones are shown each time; 6 and 2 in the paper.
        threshold: From which ROUGE-L on a new instruction is too similar to an old one; 0.7 in the paper.
        length: The fewest and the most words of an instruction.
        seed: Decides which tasks are shown, and the seeds that are handed on.

    Returns:
        The pool.

    Raises:
        ValueError: There are no seeds, or a number is out of its bounds.
    """
    if not seeds:
        raise ValueError("Self-Instruct grows from seed tasks, but there is none.")
    if attempts < 1 or min(examples) < 0 or sum(examples) < 1:
        raise ValueError(f"attempts and examples must be positive, but are {attempts} and {examples}.")
    if not (0 < threshold <= 1 and math.isfinite(threshold)):
        raise ValueError(f"threshold must be above 0 and at most 1, but is {threshold!r}.")
    generator = random.Random(seed)
    pool = Pool(list(seeds))
    for _ in range(attempts):
        shown = [task.instruction for task in pool.examples(*examples, generator)]
        instruction = " ".join(write(shown, generator.randrange(2**32)).split())
        objection = pool.objection(instruction, threshold, length)
        if objection is None:
            reply = answer(instruction, generator.randrange(2**32))
            if reply is not None and reply.strip():
                pool.grown.append(Task(instruction, reply.strip()))
                continue
            objection = "no answer"
        pool.refused[objection] += 1
    return pool
