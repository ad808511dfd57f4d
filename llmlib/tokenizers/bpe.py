"""Byte-level byte-pair encoding, the tokenizer of GPT-2 and of most models since (Chapter 1).

Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section 2.2, after Sennrich,
Haddow and Birch 2016, arXiv:1508.07909.
"""

import os
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from tqdm.auto import tqdm

from llmlib.tokenizers import bpe_json, tokenizer_json
from llmlib.tokenizers.bpe_merges import Merges, Pair
from llmlib.tokenizers.bpe_trainer import learn_merges, spell
from llmlib.tokenizers.byte_level import BYTE_ORDER, split_words, to_symbols
from llmlib.tokenizers.checks import texts_of, token_ids
from llmlib.tokenizers.chunk_cache import ChunkCache
from llmlib.tokenizers.special_tokens import Selection, SpecialTokens

_WORDS_TO_KEEP = 1 << 17


class BPETokenizer:
    """A vocabulary of byte strings, and the merges that build them from single bytes.

    Every text, and every string of bytes, can be encoded and decodes to itself.

    >>> tokenizer = BPETokenizer.train(["low lower lowest"], vocab_size=259, special_tokens=["<|endoftext|>"])
    >>> tokenizer.pieces("slow")
    [b's', b'low']

    Args:
        vocab: the bytes of each token; a token's id is its index.
        merges: the pairs of ids that merge, in the order in which they were learned.
        special_tokens: name to id. Ordinary text never becomes one of these ids.
        add_prefix_space: put a space before a text that does not begin with one, so that its first word is
            encoded like the others. Decoding leaves it there.
        use_regex: merge inside the words of GPT-2's pattern only. Otherwise the whole text is one word.

    Attributes:
        vocab: the bytes of each token, by id.

    Raises:
        ValueError: the parts do not fit each other, or a special token is spelled like ordinary text.
    """

    def __init__(
        self,
        vocab: Sequence[bytes],
        merges: Sequence[Pair],
        special_tokens: Mapping[str, int],
        *,
        add_prefix_space: bool = False,
        use_regex: bool = True,
    ) -> None:
        self.vocab = list(vocab)
        self._special = SpecialTokens(special_tokens)
        self._add_prefix_space = add_prefix_space
        self._use_regex = use_regex
        for name, token_id in special_tokens.items():
            if self.vocab[token_id : token_id + 1] != [name.encode()]:
                raise ValueError(
                    f"the vocabulary must hold the special token {name!r} under its id {token_id}"
                )
        special_ids = set(special_tokens.values())
        ordinary = {token: i for i, token in enumerate(self.vocab) if i not in special_ids}
        spellings = {*to_symbols(BYTE_ORDER), *map(to_symbols, ordinary)}
        if clash := spellings.intersection(special_tokens):
            name = min(clash)
            raise ValueError(
                f"special token {name!r} is spelled like a token of ordinary text: give it a name that is no "
                f"word, such as '<|{name}|>'"
            )
        products: dict[Pair, int] = {}
        for left, right in merges:
            token = self.vocab[left] + self.vocab[right]
            if token not in ordinary:
                raise ValueError(f"{self.vocab[left]!r} and {self.vocab[right]!r} merge into no known token")
            products[left, right] = ordinary[token]
        if len(products) < len(merges):
            raise ValueError("a pair of tokens stands twice in the merges")
        self._merges = Merges(products, len(self.vocab))
        self._byte_ids = {token[0]: i for token, i in ordinary.items() if len(token) == 1}
        self._cache = ChunkCache(self._encode_word)
        self._cut_in_training: dict[str, str] = {}

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        vocab_size: int,
        special_tokens: Sequence[str] = (),
        *,
        min_frequency: int = 1,
        progress: bool = False,
    ) -> "BPETokenizer":
        """Learn a vocabulary from texts.

        The ids are those of Hugging Face's ``BpeTrainer``: special tokens, then the 256 bytes in the order of
        :data:`~llmlib.tokenizers.byte_level.BYTE_ORDER`, then the merged tokens.

        Args:
            texts: the corpus. A special token that is written in it is ordinary text.
            vocab_size: number of tokens to reach. A corpus with too few pairs gives fewer, with a warning.
            special_tokens: names, in the order of their ids 0, 1, 2 ...
            min_frequency: a pair that occurs less often is not merged.
            progress: show progress bars.

        Raises:
            TypeError: one string in place of many, or an item that is no string.
            ValueError: the vocabulary is smaller than the bytes and special tokens, the corpus is empty, or a
                special token occurs twice or is spelled like ordinary text.
        """
        if isinstance(special_tokens, str):
            raise TypeError(f"special_tokens must be a list of names: pass [{special_tokens!r}]")
        special = SpecialTokens({name: i for i, name in enumerate(special_tokens)})
        first = len(special)
        if first < len(special_tokens):
            raise ValueError(f"a name occurs twice in special_tokens: {list(special_tokens)}")
        if not isinstance(vocab_size, int):
            raise TypeError(f"vocab_size must be an integer, not {vocab_size!r}")
        if vocab_size < first + 256:
            raise ValueError(
                f"vocab_size must be at least {first + 256}, for the 256 bytes and the special tokens, not "
                f"{vocab_size}"
            )
        word_counts: Counter[str] = Counter()
        for text in tqdm(texts_of(texts), desc="Counting words", unit=" texts", disable=not progress):
            word_counts.update(split_words(_escape_surrogates(text)))
        if not word_counts:
            raise ValueError("the corpus is empty: pass at least one text that is not the empty string")

        vocab = [*(name.encode() for name in special), *(bytes([byte]) for byte in BYTE_ORDER)]
        merges = []
        words = [spell(_to_bytes(word)) for word in word_counts]
        learned = learn_merges(words, list(word_counts.values()), vocab_size - first, min_frequency)
        total = vocab_size - len(vocab)
        for pair in tqdm(learned, desc="Learning merges", total=total, disable=not progress):
            left, right = pair[0] + first, pair[1] + first
            merges.append((left, right))
            vocab.append(vocab[left] + vocab[right])
        if len(vocab) < vocab_size:
            warnings.warn(
                f"the corpus has pairs for {len(vocab)} tokens, not for the {vocab_size} of vocab_size: that is "
                "the size of the vocabulary; more text makes more",
                stacklevel=2,
            )
        tokenizer = cls(vocab, merges, special.ids)
        # What is encoded next is mostly the corpus, and the trainer has cut its words already.
        tokenizer._cut_in_training = dict(islice(zip(word_counts, words, strict=True), _WORDS_TO_KEEP))
        return tokenizer

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "BPETokenizer":
        """Read a tokenizer.json of byte-level BPE, as :meth:`save` or Hugging Face's ``tokenizers`` wrote it.

        Args:
            path: the file, or the folder that holds ``tokenizer.json``.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is damaged, holds another model, or uses an option that is not supported.
        """
        document = tokenizer_json.read(path, "BPE")
        special = tokenizer_json.special_tokens(document, path)
        try:
            return cls(**bpe_json.from_document(document, special))
        except ValueError as error:
            tokenizer_json.refuse(path, str(error))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a tokenizer.json. Hugging Face's ``tokenizers`` reads it, but lets every text use special tokens.

        Args:
            path: the file, or an existing folder, in which ``tokenizer.json`` is written.

        Raises:
            OSError: the file cannot be written.
        """
        document = bpe_json.to_document(
            self.vocab,
            self._merges.pairs,
            self._special,
            add_prefix_space=self._add_prefix_space,
            use_regex=self._use_regex,
        )
        tokenizer_json.write(path, document)

    @property
    def vocab_size(self) -> int:
        """Number of tokens, special ones included."""
        return len(self.vocab)

    @property
    def merges(self) -> list[tuple[bytes, bytes]]:
        """The pairs of tokens that merge, in the order in which they were learned."""
        return [(self.vocab[left], self.vocab[right]) for left, right in self._merges.pairs]

    @property
    def special_tokens(self) -> dict[str, int]:
        """The special tokens: name to id."""
        return dict(self._special.ids)

    def encode(
        self, text: str, allowed_special: Selection = (), disallowed_special: Selection = ()
    ) -> list[int]:
        """Turn a text into token ids.

        Args:
            text: any text, lone surrogates included: they are encoded as ``surrogatepass`` writes them.
            allowed_special: special tokens that become their ids, or ``"all"``. The others are ordinary text.
            disallowed_special: special tokens that may not be in the text, or ``"all"``.

        Raises:
            TypeError: ``text`` is no string.
            ValueError: a name that is no special token, or a disallowed special token in the text.
        """
        if not isinstance(text, str):
            raise TypeError(f"text must be a string, not {type(text).__name__}; encode_bytes takes bytes")
        text = _escape_surrogates(text)
        if not allowed_special and not disallowed_special:
            return self._encode_ordinary(text)
        ids: list[int] = []
        for part, special_id in self._special.split(text, allowed_special, disallowed_special):
            ids += self._encode_ordinary(part) if special_id is None else [special_id]
        return ids

    def encode_bytes(self, data: bytes) -> list[int]:
        """Turn any bytes into token ids, from which :meth:`decode_bytes` makes the same bytes again.

        Bytes that are valid UTF-8 get the ids of their text; each other byte counts as a sign of its own.

        Raises:
            TypeError: ``data`` is not bytes.
        """
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"data must be bytes, not {type(data).__name__}; encode takes strings")
        return self._encode_ordinary(str(data, "utf-8", "surrogateescape"))

    def decode(self, ids: Iterable[Any], errors: str = "replace") -> str:
        """Turn token ids back into text.

        Args:
            ids: integers in a list, an array or a tensor.
            errors: what to do with bytes that are not valid UTF-8, such as half a character, as for
                ``bytes.decode``: ``"replace"`` puts U+FFFD, ``"strict"`` raises an error, ``"surrogatepass"``
                raises one but for lone surrogates.

        Raises:
            TypeError: the ids are not integers.
            ValueError: an id that is not in the vocabulary. Its subclass UnicodeDecodeError: see ``errors``.
        """
        return self.decode_bytes(ids).decode("utf-8", errors)

    def decode_bytes(self, ids: Iterable[Any]) -> bytes:
        """Turn token ids back into bytes.

        Raises:
            TypeError: the ids are not integers.
            ValueError: an id that is not in the vocabulary.
        """
        return b"".join([self.vocab[i] for i in token_ids(ids, self.vocab_size)])

    def pieces(self, text: str, allowed_special: Selection = ()) -> list[bytes]:
        """Cut a text into its tokens, to look at them."""
        return [self.vocab[i] for i in self.encode(text, allowed_special)]

    def merge_steps(self, word: str) -> Iterator[list[bytes]]:
        """Encode one word and watch: first its bytes, then its tokens after each merge.

        Raises:
            ValueError: the text is not one word, and merges do not cross words.
        """
        words = self._words(_escape_surrogates(word))
        if len(words) != 1:
            raise ValueError(f"{word!r} is not one word but {len(words)}: {words}; pass them one by one")
        steps = self._merges.steps(self._ids_of_bytes(words[0]))
        return ([self.vocab[i] for i in ids] for ids in steps)

    def __repr__(self) -> str:
        return f"BPETokenizer(vocab_size={self.vocab_size}, special_tokens={self.special_tokens})"

    def _encode_ordinary(self, text: str) -> list[int]:
        return self._cache.encode_all(self._words(text))

    def _words(self, text: str) -> list[str]:
        if self._add_prefix_space and text and not text.startswith(" "):
            text = " " + text
        return split_words(text) if self._use_regex else [text]

    def _encode_word(self, word: str) -> list[int]:
        if cut := self._cut_in_training.pop(word, ""):
            return [ord(token) + len(self._special) for token in cut]
        return self._merges.apply(self._ids_of_bytes(word))

    def _ids_of_bytes(self, word: str) -> list[int]:
        try:
            return [*map(self._byte_ids.__getitem__, _to_bytes(word))]
        except KeyError as error:
            raise ValueError(
                f"{word!r} holds byte {error.args[0]:#04x}, which the vocabulary lacks: train it with the whole "
                "alphabet (initial_alphabet in Hugging Face's trainer)"
            ) from None


def _escape_surrogates(text: str) -> str:
    """Write each lone surrogate as the bytes of its UTF-8, escaped as Python escapes bytes that are no UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")
    return text


def _to_bytes(word: str) -> bytes:
    return word.encode("utf-8", "surrogateescape")
