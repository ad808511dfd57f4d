"""The unigram tokenizer of SentencePiece (Chapter 1).

Kudo 2018, "Subword Regularization", arXiv:1804.10959; Kudo and Richardson 2018, "SentencePiece",
arXiv:1808.06226.
"""

import math
import os
import random
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from tqdm.auto import tqdm

from llmlib.tokenizers import lattice, tokenizer_json, unigram_json
from llmlib.tokenizers.checks import special_names, texts_of, token_ids
from llmlib.tokenizers.chunk_cache import ChunkCache
from llmlib.tokenizers.sentencepiece_text import NMT_NFKC, Metaspace, SentencePieceNormalizer
from llmlib.tokenizers.special_tokens import Selection, SpecialTokens
from llmlib.tokenizers.unigram_trainer import train_unigram

METASPACE = Metaspace()

UNKNOWN_PENALTY = 10.0
"""How much less than the worst piece an unknown character scores, in nats, as in SentencePiece."""


class UnigramTokenizer:
    """Pieces with probabilities: each word is cut into those that have the highest product.

    Decoding gives the text as the cleaning left it, without a space that was put in front, if each of its
    characters is a piece. Other characters become the unknown token or, with byte pieces, the bytes of their
    UTF-8.

    Args:
        pieces: each piece with its score ``log p``, special tokens included; a piece's id is its index.
        special_tokens: name to id. Ordinary text never becomes one of these ids, but for the unknown token.
        unk_id: the id of characters that are no piece. None makes them an error.
        byte_fallback: encode such characters as byte pieces, which are named ``<0x00>`` to ``<0xFF>``.
        normalizer: the text cleaning.
        metaspace: the pre-tokeniser.
        unused: entries of a tokenizer.json that are saved again, and otherwise not used: ``decoder``, and
            ``post_processor``, which tells Hugging Face's ``tokenizers`` what to put around a text.

    Attributes:
        vocab: the pieces, by id.
        scores: their scores, by id. Those of special tokens mean nothing.

    Raises:
        ValueError: a piece is empty or occurs twice, a score is not finite, or an id does not fit.
    """

    def __init__(
        self,
        pieces: Sequence[tuple[str, float]],
        special_tokens: Mapping[str, int],
        *,
        unk_id: int | None = 0,
        byte_fallback: bool = False,
        normalizer: SentencePieceNormalizer = NMT_NFKC,
        metaspace: Metaspace = METASPACE,
        unused: Mapping[str, Any] | None = None,
    ) -> None:
        self.vocab = [piece for piece, _ in pieces]
        self.scores = [score for _, score in pieces]
        ids = {piece: token_id for token_id, piece in enumerate(self.vocab)}
        if not ids or len(ids) < len(pieces) or "" in ids or not all(map(math.isfinite, self.scores)):
            raise ValueError("there must be pieces, none empty, none twice, each with a finite score")
        if unk_id is not None and not 0 <= unk_id < len(pieces):
            raise ValueError(f"unk_id is {unk_id}, outside the vocabulary of {len(pieces)} pieces")
        for name, token_id in special_tokens.items():
            if ids.get(name) != token_id:
                raise ValueError(f"the vocabulary must hold the special token {name!r} under its id")
        self._special = SpecialTokens(special_tokens)
        self._unk_id = unk_id
        self._byte_fallback = byte_fallback
        self._normalizer = normalizer
        self._metaspace = metaspace
        self._unused = dict(unused or {})

        self._bytes = [piece.replace(metaspace.replacement, " ").encode() for piece in self.vocab]
        self._byte_ids: dict[int, int] = {}
        if byte_fallback:
            self._byte_ids = {byte: ids[name] for byte in range(256) if (name := f"<0x{byte:02X}>") in ids}
            for byte, token_id in self._byte_ids.items():
                self._bytes[token_id] = bytes([byte])
        for name, token_id in special_tokens.items():
            self._bytes[token_id] = name.encode()
        reserved = {unk_id, *self._special.ids.values(), *self._byte_ids.values()}
        self._ids = {piece: token_id for piece, token_id in ids.items() if token_id not in reserved}
        self._log_probs = {piece: self.scores[token_id] for piece, token_id in self._ids.items()}
        self._longest = max(map(len, self._ids), default=1)
        self._unknown = min(self.scores) - UNKNOWN_PENALTY
        self._cache = ChunkCache(self._encode_word)

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        vocab_size: int,
        special_tokens: Sequence[str] = ("<unk>",),
        *,
        unk_token: str = "<unk>",
        normalizer: SentencePieceNormalizer = NMT_NFKC,
        metaspace: Metaspace = METASPACE,
        progress: bool = False,
    ) -> "UnigramTokenizer":
        """Learn a vocabulary from texts: see :mod:`~llmlib.tokenizers.unigram_trainer`.

        For text that decodes to itself, spaces and line breaks included, pass
        ``normalizer=sentencepiece_text.IDENTITY`` and ``metaspace=Metaspace(prepend_scheme="never")``.

        Args:
            texts: the corpus. Special tokens in it are ordinary text.
            vocab_size: number of tokens to reach. A corpus with too few repeated substrings gives fewer, with
                a warning.
            special_tokens: names, in the order of their ids, which are 0, 1, 2 ... The unknown token is put
                in front if it is missing.
            unk_token: the name of the unknown token.
            normalizer: the text cleaning.
            metaspace: the pre-tokeniser.
            progress: show progress bars.

        Raises:
            TypeError: one string in place of many, or an item that is no string.
            ValueError: the vocabulary is smaller than the characters and special tokens, the corpus is empty,
                or a special token occurs twice.
        """
        names = special_names(special_tokens, unk_token)
        word_counts: Counter[str] = Counter()
        for text in tqdm(texts_of(texts), desc="Counting words", unit=" texts", disable=not progress):
            word_counts.update(metaspace.words(normalizer(text)))
        if not word_counts:
            raise ValueError("the corpus is empty: pass at least one text that is not the empty string")
        smallest = len(names) + len(set().union(*word_counts))
        if vocab_size < smallest:
            raise ValueError(
                f"vocab_size is {vocab_size}, but the {smallest - len(names)} characters of the texts and "
                f"{len(names)} special tokens need {smallest}"
            )
        log_probs = train_unigram(word_counts, vocab_size - len(names), progress=progress)
        if len(log_probs) < vocab_size - len(names):
            warnings.warn(
                f"the corpus has substrings for a vocabulary of {len(names) + len(log_probs)} only, not "
                f"{vocab_size}: give it more text or a smaller vocab_size",
                stacklevel=2,
            )
        pieces = [(name, 0.0) for name in names]
        # Rounded, because Hugging Face's reader of JSON does not get the last bit of longer numbers right.
        pieces += [(piece, round(score, 9)) for piece, score in log_probs.items() if piece not in names]
        special = {name: token_id for token_id, name in enumerate(names)}
        return cls(pieces, special, unk_id=special[unk_token], normalizer=normalizer, metaspace=metaspace)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "UnigramTokenizer":
        """Read a tokenizer.json of a unigram model that :meth:`save` or Hugging Face's ``tokenizers`` wrote.

        Args:
            path: the file, or the folder that holds ``tokenizer.json``.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is damaged, holds another model, or uses an option that is not supported,
                such as the ``Precompiled`` normaliser of SentencePiece's own files.
        """
        document = tokenizer_json.read(path, "Unigram")
        special = tokenizer_json.special_tokens(document, path)
        try:
            return cls(**unigram_json.from_document(document, special))
        except ValueError as error:
            tokenizer_json.refuse(path, str(error))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a tokenizer.json, which Hugging Face's ``tokenizers`` loads too.

        There, special tokens in a text always become their ids.

        Args:
            path: the file, or an existing folder, in which ``tokenizer.json`` is written.

        Raises:
            OSError: the file cannot be written.
        """
        document = unigram_json.to_document(
            list(zip(self.vocab, self.scores, strict=True)),
            self._special,
            unk_id=self._unk_id,
            byte_fallback=self._byte_fallback,
            normalizer=self._normalizer,
            metaspace=self._metaspace,
            unused=self._unused,
        )
        tokenizer_json.write(path, document)

    @property
    def vocab_size(self) -> int:
        """Number of tokens, special ones included."""
        return len(self.vocab)

    @property
    def special_tokens(self) -> dict[str, int]:
        """The special tokens: name to id."""
        return dict(self._special.ids)

    def encode(
        self, text: str, allowed_special: Selection = (), disallowed_special: Selection = ()
    ) -> list[int]:
        """Turn a text into token ids; no special token is put around it.

        Args:
            text: any text.
            allowed_special: special tokens that become their ids, or ``"all"``. By default, one that is
                written in the text is ordinary text.
            disallowed_special: special tokens that may not be in the text, or ``"all"``.

        Raises:
            TypeError: ``text`` is no string.
            ValueError: a name that is no special token, a disallowed special token in the text, or a
                character that is no piece, where there is no unknown token.
        """
        return self._encode(text, allowed_special, disallowed_special, self._cache.encode_all)

    def sample(
        self, text: str, alpha: float = 0.1, seed: int = 0, allowed_special: Selection = ()
    ) -> list[int]:
        """Encode a text with a random segmentation, so that a model in training sees words cut in many ways.

        Subword regularization (Kudo 2018, section 3): a segmentation of a word has the probability of its
        pieces to the power ``alpha``, up to normalization.

        Args:
            text: any text.
            alpha: 0 takes all segmentations alike; the larger, the more often the one of :meth:`encode`
                comes.
            seed: the same seed gives the same segmentation.
            allowed_special: as for :meth:`encode`.

        Raises:
            TypeError, ValueError: as :meth:`encode`; or ``alpha`` is negative.
        """
        if not 0 <= alpha < math.inf:
            raise ValueError(f"alpha must be finite and not negative, but is {alpha}")
        generator = random.Random(seed)

        def encode_words(words: list[str]) -> list[int]:
            ids: list[int] = []
            for word in words:
                ids += self._ids_of(
                    lattice.sample(word, self._log_probs, self._longest, alpha, generator, self._unknown)
                )
            return ids

        return self._encode(text, allowed_special, (), encode_words)

    def decode(self, ids: Iterable[Any], errors: str = "replace") -> str:
        """Turn token ids back into text.

        Args:
            ids: integers in a list, an array or a tensor.
            errors: what to do with byte pieces that are not valid UTF-8, such as half a character:
                ``"replace"`` them by U+FFFD, ``"strict"`` to refuse them, and the other ways of
                ``bytes.decode``.

        Raises:
            TypeError: the ids are not integers.
            ValueError: an id outside the vocabulary; or (``UnicodeDecodeError``) bytes that ``errors``
                refuses.
        """
        return self.decode_bytes(ids).decode("utf-8", errors)

    def decode_bytes(self, ids: Iterable[Any]) -> bytes:
        """Turn token ids back into bytes, without the space that encoding may have put in front.

        Raises:
            TypeError: the ids are not integers.
            ValueError: an id outside the vocabulary.
        """
        numbers = token_ids(ids, self.vocab_size)
        data = b"".join([self._bytes[token_id] for token_id in numbers])
        prepends = self._metaspace.prepend_scheme != "never"
        if prepends and numbers and self.vocab[numbers[0]].startswith(self._metaspace.replacement):
            return data.removeprefix(b" ")
        return data

    def pieces(self, text: str, allowed_special: Selection = ()) -> list[str]:
        """Cut a text into its tokens, for display. A space is ``▁``."""
        return [self.vocab[token_id] for token_id in self.encode(text, allowed_special)]

    def __repr__(self) -> str:
        return f"UnigramTokenizer(vocab_size={self.vocab_size}, special_tokens={self.special_tokens})"

    def _encode(
        self,
        text: str,
        allowed_special: Selection,
        disallowed_special: Selection,
        encode_words: Callable[[list[str]], list[int]],
    ) -> list[int]:
        if not isinstance(text, str):
            raise TypeError(f"text must be a string, not {type(text).__name__}")
        ids: list[int] = []
        parts = self._special.split(text, allowed_special, disallowed_special)
        for number, (part, special_id) in enumerate(parts):
            if special_id is None:
                ids += encode_words(self._metaspace.words(self._normalizer(part), at_beginning=number == 0))
            else:
                ids.append(special_id)
        return ids

    def _encode_word(self, word: str) -> list[int]:
        pieces, _ = lattice.viterbi(word, self._log_probs, self._longest, self._unknown)
        return self._ids_of(pieces)

    def _ids_of(self, pieces: Iterable[str]) -> list[int]:
        ids: list[int] = []
        for known, run in groupby(pieces, key=self._ids.__contains__):
            if known:
                ids += map(self._ids.__getitem__, run)
            else:
                ids += self._ids_of_unknown("".join(run))
        return ids

    def _ids_of_unknown(self, characters: str) -> list[int]:
        """Neighbouring unknown characters become one unknown token together."""
        if self._byte_ids.keys() >= set(characters.encode()):
            return [self._byte_ids[byte] for byte in characters.encode()]
        if self._unk_id is None:
            raise ValueError(
                f"{characters!r} is not in the vocabulary, which has no unknown token to stand for it"
            )
        return [self._unk_id]
