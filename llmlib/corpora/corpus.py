"""What a corpus is, and how its documents are split into training and validation text."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

VALIDATION_SHARE = 0.05


@dataclass(frozen=True, repr=False)
class Corpus:
    """Text to learn from, split by whole documents (Chapter 1).

    Attributes:
        name: What :func:`llmlib.corpora.load` was asked for.
        documents: Every document, in the order of its source.
        train: The documents to learn from.
        validation: The documents held out. No document is in both.
    """

    name: str
    documents: tuple[str, ...]
    train: tuple[str, ...]
    validation: tuple[str, ...]

    @classmethod
    def from_documents(cls, name: str, documents: Sequence[str]) -> "Corpus":
        """Split ``documents`` and make a corpus of them.

        Args:
            name: The name that the corpus shows.
            documents: The texts. Documents of white space alone are left out.

        Returns:
            The corpus, about 5 % of whose bytes are held out.

        Raises:
            ValueError: No document holds text, or all documents are the same.
        """
        documents = tuple(document for document in documents if document.strip())
        if not documents:
            raise ValueError(f"The corpus {name!r} is empty: it has no document that holds text.")
        train, validation = split(documents)
        return cls(name, documents, train, validation)

    def __repr__(self) -> str:
        sizes = ", ".join(
            f"{part}={len(texts):,} documents / {size_in_bytes(texts):,} bytes"
            for part, texts in (("train", self.train), ("validation", self.validation))
        )
        return f"Corpus({self.name!r}, {sizes})"


def size_in_bytes(documents: Sequence[str]) -> int:
    """The size of ``documents`` in bytes of UTF-8, as bits per byte counts it (Chapter 2)."""
    return sum(len(document.encode()) for document in documents)


def split(documents: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Hold out about 5 % of the bytes, in whole documents.

    The documents are lined up by a hash of their text, and each in turn is held out if it still fits into the
    5 %. So the choice depends on the texts alone, not on their order, the machine or a seed, and documents
    that are equal are never on both sides.

    Args:
        documents: The texts to split.

    Returns:
        Training and validation documents, each in the order in which they came.

    Raises:
        ValueError: There are fewer than two different documents.
    """
    lined_up = sorted(set(documents), key=lambda document: hashlib.sha256(document.encode()).digest())
    if len(lined_up) < 2:
        raise ValueError(
            "A split by whole documents needs at least two different documents, but there is "
            f"{len(lined_up)}. Give a folder of several files, or cut the text into documents."
        )
    room = VALIDATION_SHARE * size_in_bytes(lined_up)
    held_out: set[str] = set()
    for document in lined_up:
        size = size_in_bytes([document])
        if size <= room:
            held_out.add(document)
            room -= size
    held_out = held_out or {min(lined_up, key=len)}  # in a small corpus each document may be above 5 %
    train = tuple(document for document in documents if document not in held_out)
    validation = tuple(document for document in documents if document in held_out)
    return train, validation
