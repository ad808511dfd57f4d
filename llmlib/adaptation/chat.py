"""Conversations as token ids: a template says who speaks, and an end token says where an answer ends (Chapter 12)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, Protocol, TypeAlias

Role: TypeAlias = Literal["system", "user", "assistant"]
ROLES = ("system", "user", "assistant")


class Tokenizer(Protocol):
    """What is asked of a tokenizer: to encode text in which nothing is a special token, and to know its own."""

    @property
    def special_tokens(self) -> Mapping[str, int]:
        """The id of each special token."""

    def encode(self, text: str) -> list[int]:
        """The token ids of a text."""

    def decode(self, ids: Iterable[int]) -> str:
        """The text of token ids."""


@dataclass(frozen=True)
class Message:
    """What one of the speakers says.

    Attributes:
        role: Who speaks: ``"system"``, ``"user"`` or ``"assistant"``.
        content: The words.

    Raises:
        ValueError: There is no such role.
    """

    role: Role
    content: str

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise ValueError(f"There is no role {self.role!r}; there are {', '.join(map(repr, ROLES))}.")


Conversation: TypeAlias = Sequence[Message]


@dataclass(frozen=True)
class Encoded:
    """A conversation in tokens.

    Attributes:
        ids: The token ids.
        learn: For each of them whether it is to be learnt: those of the answers, and the end token after each.
    """

    ids: list[int]
    learn: list[bool]


@dataclass(frozen=True)
class ChatTemplate:
    """How a conversation is written down for a model (Chapter 12).

    Each message is an opening that says who speaks, the words, and a closing; an answer is closed by the end token. The
    parts are encoded one by one. So the question of a conversation has the same tokens whether an answer follows or
    not, and nothing that a speaker writes can become the end token.

    Attributes:
        end: The name of a special token, which ends each answer.
        openings: What stands before the words of each role.
        closing: What stands after the words of system and user.

    Raises:
        ValueError: There is no end token, or no opening for a role.
    """

    end: str = "<|endoftext|>"
    openings: Mapping[str, str] = field(
        default_factory=lambda: MappingProxyType(
            {"system": "", "user": "Question: ", "assistant": "Answer: "}
        )
    )
    closing: str = "\n"

    def __post_init__(self) -> None:
        if not self.end:
            raise ValueError(
                "This template has no end token: a model that learns from it would never stop. Give the name of a "
                "special token of its tokenizer, such as end='<|endoftext|>'."
            )
        if missing := [role for role in ROLES if role not in self.openings]:
            raise ValueError(
                f"The template has no opening for {missing[0]!r}: openings needs {', '.join(ROLES)}."
            )

    def end_id(self, tokenizer: Tokenizer) -> int:
        """The id of the end token.

        Raises:
            ValueError: The tokenizer has no special token of that name.
        """
        if self.end not in tokenizer.special_tokens:
            raise ValueError(
                f"The template ends answers with {self.end!r}, but the special tokens of this tokenizer are "
                f"{', '.join(map(repr, tokenizer.special_tokens)) or 'none'}. An ordinary text cannot end an answer, "
                "for an answer may contain it."
            )
        return tokenizer.special_tokens[self.end]

    def encode(self, conversation: Conversation, tokenizer: Tokenizer) -> Encoded:
        """A conversation in tokens, of which the answers are to be learnt.

        Args:
            conversation: The messages, of which one at least is the assistant's.
            tokenizer: The tokenizer of the model.

        Raises:
            ValueError: Nobody answers, or the tokenizer has no such end token.
        """
        end = self.end_id(tokenizer)
        if not any(message.role == "assistant" for message in conversation):
            raise ValueError(
                "The conversation has no answer to learn from: no message has the role 'assistant'."
            )
        ids: list[int] = []
        learn: list[bool] = []
        for message in conversation:
            answers = message.role == "assistant"
            before = tokenizer.encode(self.openings[message.role])
            words = tokenizer.encode(message.content)
            words += [end] if answers else tokenizer.encode(self.closing)
            ids += before + words
            learn += [False] * len(before) + [answers] * len(words)
        return Encoded(ids, learn)

    def prompt(self, conversation: Conversation, tokenizer: Tokenizer) -> list[int]:
        """The tokens after which the model is to answer: the conversation so far, and the opening of an answer."""
        self.end_id(tokenizer)
        ids: list[int] = []
        for message in conversation:
            ids += tokenizer.encode(self.openings[message.role]) + tokenizer.encode(message.content)
            ids += [self.end_id(tokenizer)] if message.role == "assistant" else tokenizer.encode(self.closing)
        return ids + tokenizer.encode(self.openings["assistant"])


def exchange(question: str, answer: str) -> list[Message]:
    """A conversation of one question and one answer."""
    return [Message("user", question), Message("assistant", answer)]
