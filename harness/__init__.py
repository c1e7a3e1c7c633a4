"""Benchmarks variants of a language model made by surgery on its weights."""
