"""The names of a decoder's parts, for each architecture."""

from harness.anatomy.anatomy import Anatomy, Site
from harness.anatomy.architectures import ARCHITECTURES, GROUPS, PARTS, Part
from harness.anatomy.selector import Selector, parse_layers, parse_parts

__all__ = ["ARCHITECTURES", "GROUPS", "PARTS", "Anatomy", "Part", "Selector", "Site", "parse_layers", "parse_parts"]
