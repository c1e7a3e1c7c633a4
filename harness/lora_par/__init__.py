"""LoRA-PAR (Huang, Li, Tang & Chen, EMNLP 2025): which elements of a LoRA matter to which kind of data."""
