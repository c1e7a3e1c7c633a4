"""Crosscoders over checkpoints or variants: one sparse code for several models, and what each latent does in each."""
