// The three tokenizers of Chapter 1, for the page: plain forms of the algorithms in llmlib/tokenizers, with the same
// ids. A vocabulary comes from tokenizer_spec.py. Every `encode` returns pieces: { id, text or bytes, ... }.

/** The tokenizer of a vocabulary. */
export function tokenizer(spec) {
  return { BPE: bytePairTokenizer, WordPiece: wordPieceTokenizer, Unigram: unigramTokenizer }[spec.type](spec);
}

/** A browser's text may hold half of a surrogate pair. It is no character, and becomes the replacement character. */
function wellFormed(text) {
  return text.replace(/\p{Surrogate}/gu, "\uFFFD");
}

// ---- Byte-level BPE (GPT-2) ----

const GPT2_WORDS =
  /'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu;

/** The character that stands for each byte in a vocabulary file: itself where it prints, else one from U+0100 on. */
function byteSymbols() {
  const prints = (byte) => (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);
  let next = 0x100;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(prints(byte) ? byte : next++));
}

function bytePairTokenizer({ pieces: listed, merges }) {
  const symbols = byteSymbols();
  const byteOf = new Map(symbols.map((symbol, byte) => [symbol, byte]));
  const pieces = [...listed];
  const idOf = new Map(pieces.map((piece, id) => [piece, id]));
  for (let i = 0; i < merges.length; i += 2) {
    const merged = pieces[merges[i]] + pieces[merges[i + 1]];
    if (!idOf.has(merged)) idOf.set(merged, pieces.push(merged) - 1);
  }
  const idOfByte = symbols.map((symbol) => idOf.get(symbol));
  const bytesOf = (id) => Uint8Array.from(pieces[id], (symbol) => byteOf.get(symbol));

  // `merges` lists left, right, left, right, ...; the rank of a pair is its place in the order of learning.
  const pair = (left, right) => left * pieces.length + right;
  const rankOf = new Map();
  for (let i = 0; i < merges.length; i += 2) rankOf.set(pair(merges[i], merges[i + 1]), i / 2);
  const mergedOf = (rank) => idOf.get(pieces[merges[2 * rank]] + pieces[merges[2 * rank + 1]]);

  /** Merges the ids of one word in place, lowest rank first, as long as a rank is below `limit`. */
  function mergeWord(ids, limit, merged) {
    const rankAt = (i) => (i + 1 < ids.length ? (rankOf.get(pair(ids[i], ids[i + 1])) ?? Infinity) : Infinity);
    const ranks = ids.map((_, i) => rankAt(i));
    for (;;) {
      const best = ranks.reduce((a, b) => (b < a ? b : a), Infinity);
      if (best >= limit) return;
      let kept = 0;
      const dirty = [];
      for (let i = 0; i < ids.length; i++, kept++) {
        const here = ranks[i] === best;
        ids[kept] = here ? mergedOf(best) : ids[i];
        ranks[kept] = here ? ranks[++i] : ranks[i];
        if (here) {
          merged(best);
          dirty.push(kept - 1, kept);
        }
      }
      ids.length = ranks.length = kept;
      for (const i of dirty) if (i >= 0) ranks[i] = rankAt(i);
    }
  }

  function encode(text, limit, merged) {
    const done = new Map(); // word → ids
    return wellFormed(text)
      .match(GPT2_WORDS)
      ?.flatMap((word) => {
        if (!done.has(word)) {
          const used = [];
          const ids = Array.from(new TextEncoder().encode(word), (byte) => idOfByte[byte]);
          mergeWord(ids, limit, (rank) => used.push(rank));
          done.set(word, { ids, used });
        }
        done.get(word).used.forEach(merged);
        return done.get(word).ids;
      }) ?? [];
  }

  return {
    /** The pieces when only the first `limit` merges of the vocabulary are known. */
    encode: (text, limit = Infinity) => encode(text, limit, () => {}).map((id) => ({ id, bytes: bytesOf(id) })),

    /** The bytes of a token; a special token, which no text becomes, has none. */
    bytesOf,

    /** The merges that a text needs, in the order of learning, each with the number of places where it happens. */
    merges(text) {
      const places = new Map();
      encode(text, Infinity, (rank) => places.set(rank, (places.get(rank) ?? 0) + 1));
      return [...places]
        .sort(([a], [b]) => a - b)
        .map(([rank, count]) => ({
          rank,
          count,
          id: mergedOf(rank),
          left: bytesOf(merges[2 * rank]),
          right: bytesOf(merges[2 * rank + 1]),
        }));
    },
  };
}

// ---- WordPiece (BERT) ----

const CONTROL = /(?![\t\n\r])[\p{Cc}\p{Cf}\p{Co}\uFFFD]/gu;
const CHINESE =
  /[\u4E00-\u9FFF\u3400-\u4DBF\u{20000}-\u{2A6DF}\u{2A700}-\u{2B73F}\u{2B740}-\u{2B81F}\u{2B920}-\u{2CEAF}\uF900-\uFAFF\u{2F800}-\u{2FA1F}]/gu;
const BERT_WORDS = /[\p{P}$+<=>^`|~]|[^\p{White_Space}\p{P}$+<=>^`|~]+/gu;

function bertNormalizer({ clean_text, handle_chinese_chars, strip_accents, lowercase }) {
  return (text) => {
    if (clean_text) text = text.replace(CONTROL, "").replace(/\p{White_Space}/gu, " ");
    if (handle_chinese_chars) text = text.replace(CHINESE, " $& ");
    if (strip_accents ?? lowercase) text = text.normalize("NFD").replace(/\p{Mn}/gu, "");
    // A final Σ becomes ς in the language; BERT lowers each letter on its own.
    return lowercase ? text.replaceAll("Σ", "σ").toLowerCase() : text;
  };
}

function wordPieceTokenizer({ pieces, prefix, unknown, longest, normalizer }) {
  const idOf = new Map(pieces.map((piece, id) => [piece, id]));
  const normalize = normalizer ? bertNormalizer(normalizer) : (text) => text;

  /** The longest piece that the word starts with, then the same for the rest; one [UNK] when nothing fits. */
  function pieceWord(word) {
    const characters = [...word];
    const lost = [{ ...unknown, lost: word }];
    if (characters.length > longest) return lost;
    const found = [];
    for (let start = 0, end; start < characters.length; start = end) {
      const mark = start ? prefix : "";
      for (end = characters.length; end > start; end--) {
        const text = characters.slice(start, end).join("");
        const id = idOf.get(mark + text);
        if (id !== undefined) {
          found.push({ id, text, mark });
          break;
        }
      }
      if (end === start) return lost;
    }
    return found;
  }

  return { encode: (text) => (normalize(wellFormed(text)).match(BERT_WORDS) ?? []).flatMap(pieceWord) };
}

// ---- Unigram (SentencePiece) ----

const NMT_GONE = /[\x01-\x08\x0B\x0E-\x1F\x7F\x8F\x9F]/g;
const NMT_SPACE = /[\t\n\f\r\u1680\u200B-\u200F\u2028\u2029\u2581\uFEFF\uFFFD]/g;

function unigramStep({ type, pattern, content }) {
  if (type === "Nmt") return (text) => text.replace(NMT_GONE, "").replace(NMT_SPACE, " ");
  if (type !== "Replace") return (text) => text.normalize(type);
  const old = pattern.String ?? new RegExp(pattern.Regex, "gu");
  return (text) => text.replaceAll(old, () => content);
}

function unigramTokenizer({ pieces, scores, unknown, normalizer, prepend, split }) {
  const idOf = new Map(pieces.map((piece, id) => [piece, id]));
  const longest = Math.max(...pieces.map((piece) => piece.length));
  const unknownScore = Math.min(...scores) - 10; // SentencePiece's penalty for a character that is in no piece
  const steps = normalizer.map(unigramStep);

  /** The most probable way to cut a text (Viterbi): the best way to a place extends the best way to an earlier one. */
  function best(text) {
    const score = new Float64Array(text.length + 1).fill(-Infinity);
    const from = new Int32Array(text.length + 1);
    score[0] = 0;
    for (let start = 0; start < text.length; ) {
      const next = start + String.fromCodePoint(text.codePointAt(start)).length;
      for (let end = next; end <= Math.min(start + longest, text.length); end++) {
        const id = idOf.get(text.slice(start, end));
        if (id === undefined && end !== next) continue;
        const reached = score[start] + (id === undefined ? unknownScore : scores[id]);
        if (reached > score[end]) {
          score[end] = reached;
          from[end] = start;
        }
      }
      start = next;
    }
    const found = [];
    for (let end = text.length; end > 0; end = from[end]) found.push(text.slice(from[end], end));
    return found.reverse();
  }

  /** Neighbouring unknown characters are one unknown piece. */
  function fuse(found) {
    const fused = [];
    for (const text of found) {
      const id = idOf.get(text);
      const last = fused.at(-1);
      if (id !== undefined) fused.push({ id, text });
      else if (last?.lost) last.text = last.lost += text;
      else fused.push({ id: unknown, text, lost: text });
    }
    return fused;
  }

  return {
    encode(text) {
      text = steps.reduce((words, step) => step(words), wellFormed(text)).replaceAll(" ", "▁");
      if (prepend && text && !text.startsWith("▁")) text = "▁" + text;
      const words = split ? (text.match(/▁[^▁]*|[^▁]+/g) ?? []) : text ? [text] : [];
      return words.flatMap((word) => fuse(best(word)));
    },
  };
}
