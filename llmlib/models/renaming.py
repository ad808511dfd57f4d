"""Weights under other names: from ours to those of a Hugging Face format, and back (Chapter 10).

Our blocks keep queries, keys and values in one matrix, those formats in three.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class Stack:
    """How the layers of one stack of blocks are called.

    Attributes:
        ours: What stands before the number of the block in our names, such as ``"blocks"``.
        theirs: What stands before it in theirs.
        names: The layers of a block: ours to theirs.
        qkv: The layers that we keep in one matrix: ours to their three, of queries, keys and values.
    """

    ours: str
    theirs: str
    names: Mapping[str, str]
    qkv: Mapping[str, tuple[str, str, str]] = field(default_factory=dict)


def from_ours(
    weights: Mapping[str, Tensor], names: Mapping[str, str], stacks: Sequence[Stack]
) -> dict[str, Tensor]:
    """Our weights under their names.

    Args:
        weights: A ``state_dict`` of ours.
        names: What is in no stack, layer by layer or tensor by tensor: ours to theirs.
        stacks: The stacks.
    """
    theirs: dict[str, Tensor] = {}
    for name, weight in weights.items():
        layer, _, kind = name.rpartition(".")
        for stack in stacks:
            if block := re.fullmatch(rf"{re.escape(stack.ours)}\.(\d+)\.(.+)", layer):
                place = f"{stack.theirs}.{block[1]}"
                if block[2] in stack.qkv:
                    parts = zip(stack.qkv[block[2]], weight.chunk(3), strict=True)
                    theirs |= {f"{place}.{part}.{kind}": tensor for part, tensor in parts}
                else:
                    theirs[f"{place}.{stack.names[block[2]]}.{kind}"] = weight
                break
        else:
            theirs[names[name] if name in names else f"{names[layer]}.{kind}"] = weight
    return theirs


def to_ours(
    weights: Mapping[str, Tensor], names: Mapping[str, str], stacks: Sequence[Stack]
) -> dict[str, Tensor]:
    """The reverse of :func:`from_ours`. What it does not know keeps its name, and so do queries without keys."""
    back = {theirs: ours for ours, theirs in names.items()}
    ours: dict[str, Tensor] = {}
    fused: dict[str, dict[int, str]] = {}  # our name, and theirs for queries (0), keys (1) and values (2)
    for name, weight in weights.items():
        layer, _, kind = name.rpartition(".")
        new = back.get(name) or (f"{back[layer]}.{kind}" if layer in back else name)
        for stack in stacks:
            block = re.fullmatch(rf"{re.escape(stack.theirs)}\.(\d+)\.(.+)", layer)
            if not block:
                continue
            place = f"{stack.ours}.{block[1]}"
            known = {theirs: inner for inner, theirs in stack.names.items()}
            parts = {part: (inner, i) for inner, three in stack.qkv.items() for i, part in enumerate(three)}
            if block[2] in known:
                new = f"{place}.{known[block[2]]}.{kind}"
            elif block[2] in parts:
                inner, i = parts[block[2]]
                fused.setdefault(f"{place}.{inner}.{kind}", {})[i] = name
                new = ""
        if new:
            ours[new] = weight
    for new, three in fused.items():
        if len(three) == 3:
            ours[new] = torch.cat([weights[three[i]] for i in range(3)])
        else:
            ours |= {name: weights[name] for name in three.values()}
    return ours
