"""Singular-value fine-tuning (Sun, Cetin & Tang, "Transformer-Squared", ICLR 2025) as a method of PEFT.

Importing the package registers it: ``PeftModel.from_pretrained`` then loads what ``save_pretrained`` wrote.
"""

from harness.svf.config import SvfConfig
from harness.svf.factors import Factor, Factors, factor, scaled
from harness.svf.layer import SvfLayer
from harness.svf.model import SvfModel
from harness.svf.register import register

register()

__all__ = ["Factor", "Factors", "SvfConfig", "SvfLayer", "SvfModel", "factor", "scaled"]
