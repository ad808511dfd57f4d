"""The cache of encoded chunks."""

from llmlib.tokenizers.chunk_cache import ChunkCache


def test_a_chunk_is_encoded_once():
    asked = []
    cache = ChunkCache(lambda chunk: asked.append(chunk) or [len(chunk)])
    assert cache.encode_all(["a", "bb", "a"]) == [1, 2, 1]
    assert asked == ["a", "bb"]


def test_the_cache_stays_bounded_and_right():
    cache = ChunkCache(lambda chunk: [ord(chunk[0]), len(chunk)], limit=3, longest=4)
    chunks = [character * length for length in (1, 4, 5) for character in "abcdefgh"] * 2
    assert cache.encode_all(chunks) == [number for chunk in chunks for number in (ord(chunk[0]), len(chunk))]
    assert len(cache) <= 3
    assert all(len(chunk) <= 4 for chunk in cache)
