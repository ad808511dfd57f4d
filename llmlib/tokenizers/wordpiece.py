"""WordPiece, the tokenizer of BERT (Chapter 1).

Schuster and Nakajima 2012, "Japanese and Korean voice search"; Wu et al. 2016, arXiv:1609.08144, section 4.1;
in the form of BERT, Devlin et al. 2018, arXiv:1810.04805.
"""

import os
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, get_args

from tqdm.auto import tqdm

from llmlib.tokenizers import bert_text, tokenizer_json, wordpiece_json
from llmlib.tokenizers.bert_text import BertNormalizer
from llmlib.tokenizers.checks import special_names, texts_of, token_ids
from llmlib.tokenizers.chunk_cache import ChunkCache
from llmlib.tokenizers.special_tokens import Selection, SpecialTokens
from llmlib.tokenizers.wordpiece_trainer import PREFIX, Rule, characters, learn_pieces

BERT_SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
BERT_NORMALIZER = BertNormalizer()


def longest_match_first(word: str, ids: Mapping[str, int], prefix: str = PREFIX) -> list[int] | None:
    """Segment a word greedily: take the longest piece that it begins with, then go on behind it.

    Args:
        word: a word without white space.
        ids: the id of each piece. A piece that continues a word carries the mark ``prefix``.
        prefix: the mark.

    Returns:
        The ids of the pieces; None when no piece fits at some place, even if another way of cutting would not
        have led there.
    """
    found = []
    start = 0
    while start < len(word):
        mark = prefix if start else ""
        for end in range(len(word), start, -1):
            if (token_id := ids.get(mark + word[start:end])) is not None:
                break
        else:
            return None
        found.append(token_id)
        start = end
    return found


class WordPieceTokenizer:
    """BERT's tokenizer: clean the text, cut it into words, segment each word by longest match.

    Encoding loses what the cleaning removes, the white space, and each word that the pieces cannot spell,
    which as a whole becomes the unknown token. So :meth:`decode` shows the tokens; it does not bring the text
    back.

    Args:
        vocab: the pieces, special tokens included; a piece's id is its index.
        special_tokens: name to id. Ordinary text never becomes one of these ids, but for the unknown token.
        unk_token: the piece for a word that cannot be segmented or is too long.
        prefix: the mark of a piece that continues a word.
        longest_word: number of characters in the longest word that is segmented.
        normalizer: the text cleaning.
        unused: entries of a tokenizer.json that are saved again, and otherwise not used: ``decoder``, and
            ``post_processor``, which tells Hugging Face's ``tokenizers`` to put ``[CLS]`` and ``[SEP]``
            around a text.

    Attributes:
        vocab: the pieces, by id.

    Raises:
        ValueError: a piece occurs twice, or the vocabulary lacks the unknown token or a special token.
    """

    def __init__(
        self,
        vocab: Sequence[str],
        special_tokens: Mapping[str, int],
        *,
        unk_token: str = "[UNK]",
        prefix: str = PREFIX,
        longest_word: int = 100,
        normalizer: BertNormalizer = BERT_NORMALIZER,
        unused: Mapping[str, Any] | None = None,
    ) -> None:
        ids = {piece: token_id for token_id, piece in enumerate(vocab)}
        if len(ids) < len(vocab):
            raise ValueError("a piece occurs twice in the vocabulary")
        for name, token_id in {unk_token: ids.get(unk_token, -1), **special_tokens}.items():
            if ids.get(name) != token_id:
                raise ValueError(f"the vocabulary must hold the special token {name!r} under its id")
        self.vocab = list(vocab)
        self._special = SpecialTokens(special_tokens)
        self._unk_id = ids[unk_token]
        self._prefix = prefix
        self._longest_word = longest_word
        self._normalizer = normalizer
        self._unused = dict(unused or {})
        reserved = {unk_token, *special_tokens}
        self._ordinary = {piece: token_id for piece, token_id in ids.items() if piece not in reserved}
        self._words = ChunkCache(self._encode_word)
        self._chunks = ChunkCache(self._encode_chunk)

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        vocab_size: int,
        special_tokens: Sequence[str] = BERT_SPECIAL_TOKENS,
        *,
        unk_token: str = "[UNK]",
        rule: Rule = "frequency",
        min_frequency: int = 2,
        limit_alphabet: int | None = 1000,
        normalizer: BertNormalizer = BERT_NORMALIZER,
        progress: bool = False,
    ) -> "WordPieceTokenizer":
        """Learn a vocabulary from texts.

        By default pieces are joined by frequency, as Hugging Face's ``WordPieceTrainer`` does, whose
        vocabulary this is up to the choice among equals. ``rule="likelihood"`` is the rule of the textbooks,
        which divides by the frequencies of the parts and gives quite another vocabulary: see
        :mod:`~llmlib.tokenizers.wordpiece_trainer`.

        Args:
            texts: the corpus. Special tokens in it are ordinary text.
            vocab_size: number of tokens to reach. A corpus with too few frequent pairs gives fewer, with a
                warning.
            special_tokens: names, in the order of their ids, which are 0, 1, 2 ... The unknown token is put
                in front if it is missing.
            unk_token: the name of the unknown token.
            rule: ``"frequency"`` or ``"likelihood"``.
            min_frequency: a pair that occurs less often is not joined.
            limit_alphabet: number of different characters to keep, the most frequent ones; None keeps all.
            normalizer: the text cleaning.
            progress: show progress bars.

        Raises:
            TypeError: one string in place of many, or an item that is no string.
            ValueError: the vocabulary is smaller than the characters and special tokens, the corpus is empty,
                a special token occurs twice, or there is no such rule.
        """
        if rule not in get_args(Rule):
            raise ValueError(f"rule must be one of {get_args(Rule)}, not {rule!r}")
        names = special_names(special_tokens, unk_token)
        chunk_counts: Counter[str] = Counter()
        for text in tqdm(texts_of(texts), desc="Counting words", unit=" texts", disable=not progress):
            chunk_counts.update(bert_text.chunks(text, normalizer))
        word_counts: Counter[str] = Counter()
        for chunk, count in chunk_counts.items():
            for word in bert_text.words(normalizer(chunk)):
                word_counts[word] += count
        if not word_counts:
            raise ValueError("the corpus is empty: pass at least one text that is not just white space")

        start = names + [piece for piece in characters(word_counts, limit_alphabet) if piece not in names]
        if vocab_size < len(start):
            raise ValueError(
                f"vocab_size is {vocab_size}, but the {len(start) - len(names)} characters, with and without "
                f"##, and {len(names)} special tokens need {len(start)}: raise it, or lower limit_alphabet"
            )
        learned = islice(learn_pieces(word_counts, start, rule, min_frequency), vocab_size - len(start))
        total = vocab_size - len(start)
        vocab = [*start, *tqdm(learned, desc="Learning pieces", total=total, disable=not progress)]
        if len(vocab) < vocab_size:
            warnings.warn(
                f"the corpus has pairs for a vocabulary of {len(vocab)} only, not {vocab_size}: give it more "
                "text, or a smaller vocab_size or min_frequency",
                stacklevel=2,
            )
        special = {name: token_id for token_id, name in enumerate(names)}
        return cls(vocab, special, unk_token=unk_token, normalizer=normalizer)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "WordPieceTokenizer":
        """Read a tokenizer.json of WordPiece, as :meth:`save` or Hugging Face's ``tokenizers`` wrote it.

        Args:
            path: the file, or the folder that holds ``tokenizer.json``.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is damaged, holds another model, or uses an option that is not supported.
        """
        document = tokenizer_json.read(path, "WordPiece")
        special = tokenizer_json.special_tokens(document, path)
        try:
            return cls(**wordpiece_json.from_document(document, special))
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
        document = wordpiece_json.to_document(
            self.vocab,
            self._special,
            unk_token=self.vocab[self._unk_id],
            prefix=self._prefix,
            longest_word=self._longest_word,
            normalizer=self._normalizer,
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
        """Turn a text into token ids; no ``[CLS]`` or ``[SEP]`` is put around it.

        Args:
            text: any text.
            allowed_special: special tokens that become their ids, or ``"all"``. By default, one that is
                written in the text is ordinary text.
            disallowed_special: special tokens that may not be in the text, or ``"all"``.

        Raises:
            TypeError: ``text`` is no string.
            ValueError: a name that is no special token, or a disallowed special token in the text.
        """
        if not isinstance(text, str):
            raise TypeError(f"text must be a string, not {type(text).__name__}")
        ids: list[int] = []
        for part, special_id in self._special.split(text, allowed_special, disallowed_special):
            if special_id is None:
                ids += self._chunks.encode_all(bert_text.chunks(part, self._normalizer))
            else:
                ids.append(special_id)
        return ids

    def decode(self, ids: Iterable[Any], clean_up: bool = False) -> str:
        """Join tokens: those with a mark to the token before, the others with a space.

        Args:
            ids: integers in a list, an array or a tensor.
            clean_up: put no space before ``.``, ``,``, ``?`` and ``!``. Hugging Face's decoder does this by
                default.

        Raises:
            TypeError: the ids are not integers.
            ValueError: an id outside the vocabulary.
        """
        parts: list[str] = []
        for token_id in token_ids(ids, self.vocab_size):
            piece = self.vocab[token_id]
            if parts and piece.startswith(self._prefix):
                piece = piece.removeprefix(self._prefix)
            elif parts and not (clean_up and piece[0] in ".,?!"):
                piece = " " + piece
            parts.append(piece)
        return "".join(parts)

    def decode_bytes(self, ids: Iterable[Any]) -> bytes:
        """The UTF-8 bytes of :meth:`decode`.

        Raises:
            TypeError: the ids are not integers.
            ValueError: an id outside the vocabulary.
        """
        return self.decode(ids).encode()

    def pieces(self, text: str, allowed_special: Selection = ()) -> list[str]:
        """Cut a text into its tokens, for display. A piece that continues a word has its mark."""
        return [self.vocab[token_id] for token_id in self.encode(text, allowed_special)]

    def __repr__(self) -> str:
        return f"WordPieceTokenizer(vocab_size={self.vocab_size}, special_tokens={self.special_tokens})"

    def _encode_chunk(self, chunk: str) -> list[int]:
        return self._words.encode_all(bert_text.words(self._normalizer(chunk)))

    def _encode_word(self, word: str) -> list[int]:
        if len(word) > self._longest_word:
            return [self._unk_id]
        ids = longest_match_first(word, self._ordinary, self._prefix)
        return [self._unk_id] if ids is None else ids
