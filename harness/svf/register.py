"""Makes ``svf`` known to PEFT, which has no hook for methods from outside."""

from __future__ import annotations

from typing import Any

from peft import PeftType


def _peft_type() -> Any:
    """PEFT's enum with one member more: its registry takes no other names."""
    if "SVF" in PeftType.__members__:
        return PeftType["SVF"]
    member: Any = str.__new__(PeftType, "SVF")
    member._name_ = member._value_ = "SVF"
    PeftType._member_map_["SVF"] = member
    PeftType._member_names_.append("SVF")
    PeftType._value2member_map_["SVF"] = member
    type.__setattr__(PeftType, "SVF", member)
    return member


SVF = _peft_type()


def register() -> None:
    """Registers config and model; harmless when repeated."""
    from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING
    from peft.utils import register_peft_method

    from harness.svf.config import SvfConfig
    from harness.svf.model import SvfModel

    if SVF not in PEFT_TYPE_TO_TUNER_MAPPING:
        register_peft_method(name="svf", config_cls=SvfConfig, model_cls=SvfModel)
