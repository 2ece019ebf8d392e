"""What a sensitivity analysis prunes alone: a layer, or a dependency group."""

from __future__ import annotations

from pruning_core.methods.registry import Method, Registry

GROUP = "dependency_group"
SENSITIVITY_UNITS = Registry(
    "sensitivity unit",
    (
        Method("layer", "Layer", "Masks weights of one layer."),
        Method(
            GROUP,
            "Dependency group (coupled layers)",
            "Removes channels of one dependency group, as in structured pruning.",
        ),
    ),
)
