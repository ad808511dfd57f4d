"""Tokenizers: text to integers and back (Chapter 1)."""
