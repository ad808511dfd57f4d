"""Benchmarks: llmlib beside its peers, on the same work, in one run, with answers compared."""
