"""The stethoscopes of Shao & Wu (NeurIPS 2025): where a model changed, and what each part of it does."""
