"""Small GPTs, and Hugging Face's with the same weights."""

import pytest


@pytest.fixture(scope="session")
def transformers():
    """Hugging Face's transformers, without its progress bars."""
    package = pytest.importorskip("transformers", reason="needs transformers: pip install transformers")
    package.utils.logging.disable_progress_bar()
    return package


@pytest.fixture
def tiny_gpt2(transformers):
    """The configuration of a GPT2LMHeadModel for 29 tokens and 12 positions."""
    return transformers.GPT2Config(
        vocab_size=29, n_positions=12, n_embd=12, n_layer=2, n_head=3, bos_token_id=None, eos_token_id=None
    )
