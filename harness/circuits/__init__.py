"""Circuits of attention heads: found by path patching or by scores, checked by ablation, baked into a patch."""
