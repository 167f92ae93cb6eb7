"""Colours. Those of what memory is for are the same on a light and a dark ground; text, lines and the ground follow the viewer's scheme.

A program that knows no style sheets finds the light ones in the attributes.
"""

from fakerun.records.collective import Phase
from fakerun.records.memory import Category
from fakerun.report.model import KERNELS, Layer

LAYER_COLORS = {
    Category.PARAMETER: "#4c78a8",
    Category.BUFFER: "#72b7b2",
    Category.OPTIMIZER_STATE: "#9d755d",
    Category.GRADIENT: "#e45756",
    KERNELS: "#79706e",
    Category.COMMUNICATION: "#b279a2",
    Category.INPUT: "#54a24b",
    Category.ACTIVATION: "#eeb83a",
    Category.TEMPORARY: "#f58518",
}

STEP_COLORS = {
    Layer.ISSUING: "#9d8f85",
    Layer.WAITING_FOR_DEVICE: "#ded9d5",
    Layer.MATRIX_PRODUCT: "#2f6db3",
    Layer.ATTENTION: "#35a39b",
    Layer.OTHER_KERNELS: "#8fbce6",
    Layer.OPTIMIZER: "#8a6a4f",
    Layer.HIDDEN: "#c9a8d6",
    Layer.EXPOSED: "#d8413c",
    Layer.WAITING_FOR_RANKS: "#f2b447",
}

PHASE_OPACITY = {Phase.FORWARD: 0.3, Phase.BACKWARD: 0.6, Phase.OPTIMIZER: 0.95, Phase.OTHER: 0.08}
"""Of the colour of text."""

FONT = "system-ui, -apple-system, 'Segoe UI', 'Noto Sans', Helvetica, Arial, sans-serif"

GROUND = {"class_": "ground", "fill": "#ffffff"}
LABEL = {"class_": "ink label", "fill": "#1f2328", "stroke": "#ffffff", "stroke_width": "4", "paint_order": "stroke"}
"""Readable above lines."""
INK = {"class_": "ink", "fill": "#1f2328"}
MUTED = {"class_": "muted", "fill": "#59636e"}
GRID = {"class_": "grid", "stroke": "#d1d9e0", "fill": "none"}
RULE = {"class_": "rule", "stroke": "#59636e", "fill": "none"}
TRACK = {"class_": "cached", "fill": "#f4f6f8"}
CACHED = {"class_": "cached", "fill": "#dde3ea"}
LIMIT = {"class_": "limit label", "fill": "#cf222e", "stroke": "#ffffff", "stroke_width": "4", "paint_order": "stroke"}
LIMIT_LINE = {"class_": "limit-line", "stroke": "#cf222e", "fill": "none"}

DARK = (
    "@media (prefers-color-scheme: dark) {"
    ".ground{fill:#0d1117}.label{stroke:#0d1117}.ink{fill:#e6edf3}.muted{fill:#9198a1}.grid{stroke:#30363d}.rule{stroke:#9198a1}.cached{fill:#2d343d}"
    ".limit{fill:#ff7b72}.limit-line{stroke:#ff7b72}}"
)
