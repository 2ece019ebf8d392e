"""The charts of a comparison as image files, drawn by matplotlib for print.

Both kinds of chart have the same parts: a `Drawing` holds them as Plotly's JSON, and this module
draws the few kinds of part that a comparison has. No browser takes part. Equal rows give equal
bytes: files hold no time and no random name. Matplotlib is imported at the first image, and only
its objects are used, no pyplot, so that threads and a user's own figures are not disturbed.
"""

from __future__ import annotations

import html
import io
import logging
import re
import threading
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pruning_core.reports.charts.comparison import CHARTS, Plot, comparison_plots
from pruning_core.reports.charts.series import Chart, Part
from pruning_core.reports.charts.style import BY_STRATEGY

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties
    from matplotlib.transforms import Transform

FORMATS = ("png", "svg", "pdf", "jpg", "webp")
ZIPPED_FORMATS = ("png", "svg", "pdf")
PANEL, PANEL_TITLE = "pruning_comparison", "Pruning comparison"
# Sizes are in pixels as on the page. At 120 to the inch, the panel is as wide as the text of an
# A4 page, and its letters have 6 to 9 points.
PIXELS_PER_INCH, DPI = 120, 300
POINT = 72 / PIXELS_PER_INCH
CELL, LEFT, RIGHT, HEAD, FOOT, TITLE = 440, 54, 10, 44, 46, 30
LEGEND_LINE, LEGEND_HANDLE, LETTER, NOTE_LINE = 19, 72, 7.6, 18
LABEL_GAP = 4
INK, AXIS, PAPER, GRID = "#222222", "#808080", "white", "#DDDDDD"
TICKS = 6
# Matplotlib's markers for Plotly's symbols, and what is drawn inside them.
MARKERS = {
    "circle": "o",
    "square": "s",
    "diamond": "D",
    "triangle-up": "^",
    "triangle-down": "v",
    "x": "X",
    "cross": "P",
    "star": "*",
    "hash": "p",
    "hexagon": "H",
    "hexagon2": "h",
}
INSIDE = {"dot": ("o", 0.3), "cross": ("+", 0.9), "x": ("x", 0.7)}
# In units of the width of the line.
DASHES = {
    "solid": (0, ()),
    "dot": (0, (1, 2)),
    "dash": (0, (4, 2)),
    "dashdot": (0, (4, 2, 1, 2)),
    "longdash": (0, (8, 2)),
    "longdashdot": (0, (8, 2, 1, 2)),
}
# Set like all other properties of the image, so that a user's own style does not change it.
CAPS: dict[str, Any] = {"solid_capstyle": "projecting", "dash_capstyle": "butt"}
SIDES: dict[str, Any] = {"bottom": True, "left": True, "top": False, "right": False}
# Fonts of the system with many scripts, for names that the font of the charts cannot write.
OTHER_FONTS = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Microsoft YaHei", "PingFang SC", "Malgun Gothic"),
    *("WenQuanYi Zen Hei", "Arial Unicode MS", "Noto Sans Arabic", "Noto Sans Devanagari"),
)
# The symbol of a strategy before its name, in the color of the strategy.
GLYPH = re.compile(r'<span style="color:(#\w+)">.</span> ')
GLYPH_WIDTH = 14
UNKNOWN = "\N{REPLACEMENT CHARACTER}"
UNKNOWN_NOTE = f"{UNKNOWN}: a character that no installed font of the image can write"
_import_lock = threading.Lock()


class ImageError(RuntimeError):
    """An image could not be drawn. The message is a sentence for people."""


def panel_image(
    frame: pd.DataFrame,
    image_format: str = "png",
    x: str = "sparsity_prunable",
    charts: Mapping[str, Chart] = CHARTS,
    color_by: str = BY_STRATEGY,
) -> bytes:
    """The four charts of a comparison as one image in one of FORMATS. Raises `ImageError`."""
    _import_matplotlib()
    plots, legend = comparison_plots(frame, x, charts, color_by)
    return _file(drawn(plots, legend, PANEL_TITLE), image_format)


def images_zip(frame: pd.DataFrame, x: str, color_by: str = BY_STRATEGY) -> bytes:
    """A ZIP archive of the panel and each of its charts as PNG, SVG and PDF.

    Raises `ImageError`.
    """
    _import_matplotlib()
    plots, legend = comparison_plots(frame, x, color_by=color_by)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for image_format in ZIPPED_FORMATS:
            figures = {PANEL: drawn(plots, legend, PANEL_TITLE)}
            figures |= {plot.name: drawn([plot], legend) for plot in plots}
            for name, figure in figures.items():
                entry = zipfile.ZipInfo(f"{name}.{image_format}")
                archive.writestr(entry, _file(figure, image_format))
    return buffer.getvalue()


def _import_matplotlib() -> None:
    """Import matplotlib without its messages. Raises `ImageError`.

    For a user without a home, matplotlib keeps its list of fonts in a temporary folder and says
    so, and a slow search for fonts says so too; neither concerns the image.
    """
    with _import_lock:
        logger = logging.getLogger("matplotlib")
        level = logger.level
        logger.setLevel(logging.ERROR)
        try:
            import matplotlib.backends.backend_agg
            import matplotlib.backends.backend_pdf
            import matplotlib.backends.backend_svg
            import matplotlib.figure  # noqa: F401
        except (ImportError, OSError, RuntimeError, ValueError) as error:
            raise ImageError(
                f"The images could not be drawn, because matplotlib cannot be imported ({error}). "
                "Install it: pip install -r requirements.txt"
            ) from error
        finally:
            logger.setLevel(level)


def drawn(plots: Sequence[Plot], legend: Sequence[Part], title: str = "") -> Figure:
    """The plots in rows of two, a legend below them, and a title above them."""
    from matplotlib.figure import Figure

    columns, title_height = min(2, len(plots)), TITLE if title else 0
    plot_width = CELL - LEFT - RIGHT - max(plot.labels for plot in plots)
    row_height = HEAD + plots[0].height + FOOT
    width = columns * CELL
    legend_columns = _legend_columns(legend, width)
    legend_lines = -(-len(legend) // legend_columns)
    legend_height = LEGEND_LINE * legend_lines + 2 * NOTE_LINE if legend else 0
    height = title_height + row_height * -(-len(plots) // columns) + legend_height
    size = width / PIXELS_PER_INCH, height / PIXELS_PER_INCH
    figure = Figure(figsize=size, dpi=DPI, facecolor=PAPER, edgecolor=PAPER)
    figure.set_layout_engine("none")
    for i, plot in enumerate(plots):
        row, column = divmod(i, columns)
        left = column * CELL + LEFT
        bottom = height - title_height - row * row_height - HEAD - plot.height
        box = left / width, bottom / height, plot_width / width, plot.height / height
        _draw_plot(figure.add_axes(box, facecolor=PAPER), plot)
    _keep_labels_inside(figure, columns)
    if title:
        place = LEFT / width, 1 - 10 / height
        figure.text(*place, title, ha="left", va="top", **_text(16, bold=True))
    if legend:
        _add_legend(figure, legend, legend_columns)
    return figure


def _keep_labels_inside(figure: Figure, columns: int) -> None:
    """Make the plots so narrow that no label at the end of a line leaves its column.

    The letters of the image are wider than those of the page, for which labels were wrapped.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    renderer = FigureCanvasAgg(figure).get_renderer()
    excess = 0.0
    for i, axes in enumerate(figure.axes):
        end = (i % columns + 1) * CELL - LABEL_GAP
        for text in axes.texts:
            right = text.get_window_extent(renderer).x1 * PIXELS_PER_INCH / figure.dpi
            excess = max(excess, right - end)
    for axes in figure.axes:
        box = axes.get_position()
        axes.set_position((box.x0, box.y0, box.width - excess / (columns * CELL), box.height))


def _file(figure: Figure, image_format: str) -> bytes:
    """The bytes of a figure, without the time and without random names."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_pdf import FigureCanvasPdf
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    buffer = io.BytesIO()
    if image_format == "svg":
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None, "Title": PANEL_TITLE})
        return _with_stable_names(buffer.getvalue().decode()).encode()
    if image_format == "pdf":
        metadata = {"CreationDate": None, "Title": PANEL_TITLE}
        FigureCanvasPdf(figure).print_pdf(buffer, metadata=metadata)
        return buffer.getvalue()
    canvas = FigureCanvasAgg(figure)
    if image_format == "png":
        canvas.print_png(buffer, metadata={"Title": PANEL_TITLE})
        return buffer.getvalue()
    from PIL import Image

    canvas.draw()
    pixels = Image.frombytes("RGBA", canvas.get_width_height(), bytes(canvas.buffer_rgba()))
    kind = {"jpg": "JPEG", "webp": "WEBP"}[image_format]
    pixels.convert("RGB").save(buffer, kind, quality=92, dpi=(DPI, DPI))
    return buffer.getvalue()


def _with_stable_names(svg: str) -> str:
    """The SVG with its random names of markers and clip paths replaced by their order."""
    names: dict[str, str] = {}

    def stable(match: re.Match[str]) -> str:
        return match[1] + names.setdefault(match[2], f"{match[2][0]}{len(names)}")

    return re.sub(r'(id="|#)([a-z][0-9a-f]{10})(?=["\)])', stable, svg)


def _text(size: float, bold: bool = False, other_fonts: Sequence[str] = ()) -> dict[str, Any]:
    """The style of a text. Dollar signs and backslashes are letters, no formulas."""
    font = _font(bold, other_fonts)
    font.set_size(size * POINT)
    return {"fontproperties": font, "color": INK, "parse_math": False, "usetex": False}


def _font(bold: bool = False, other_fonts: Sequence[str] = ()) -> FontProperties:
    """The font that comes with matplotlib, so that images look alike on all machines."""
    from matplotlib.font_manager import FontProperties

    if other_fonts:
        return FontProperties(family=["DejaVu Sans", *other_fonts])
    return FontProperties(fname=str(_font_file(bold)))


def _font_file(bold: bool = False) -> Path:
    from matplotlib import get_data_path

    return Path(get_data_path(), "fonts", "ttf", f"DejaVuSans{'-Bold' if bold else ''}.ttf")


def _writable(name: str) -> tuple[str, list[str]]:
    """A name with the fonts of this system that it needs; UNKNOWN for what none can write."""
    from matplotlib.font_manager import FontProperties, findfont, get_font, get_font_names

    text = " ".join(name.split())
    missing = set(text) - _characters(get_font(str(_font_file())))
    fonts = []
    for family in OTHER_FONTS:
        if missing and family in get_font_names():
            known = _characters(get_font(findfont(FontProperties(family=family))))
            fonts += [family] if missing & known else []
            missing -= known
    return "".join(UNKNOWN if letter in missing else letter for letter in text), fonts


def _characters(font: Any) -> set[str]:
    return {chr(code) for code in font.get_charmap()}


def _plain(text: str) -> str:
    """The text of a label without its markup."""
    return html.unescape(re.sub(r"<[^>]*>", "", text.replace("<br>", "\n")))


def _draw_plot(axes: Axes, plot: Plot) -> None:
    """The heading, axes, lines, markers and labels of one plot."""
    _add_heading(axes, plot)
    _style_axes(axes, plot.drawing.layout)
    for shape in plot.drawing.shapes:
        _add_line(axes, shape)
    for number, trace in enumerate(plot.drawing.traces, 3):
        for artist in _trace(trace, number):
            axes.add_artist(artist)
        if "error_y" in trace:
            _add_error_bars(axes, trace, number)
    for annotation in plot.drawing.annotations:
        _add_label(axes, annotation)


def _add_heading(axes: Axes, plot: Plot) -> None:
    lines = (plot.title, 14, True, 19), (plot.subtitle, 11.5, False, 5)
    for text, size, bold, above in lines:
        axes.annotate(
            text,
            (0, 1),
            (0, above * POINT),
            xycoords="axes fraction",
            textcoords="offset points",
            **_text(size, bold),
        )


def _style_axes(axes: Axes, layout: Part) -> None:
    """Ranges, ticks with their unit, a faint grid, and the title of the x axis."""
    from matplotlib.ticker import MaxNLocator

    for name, side in (("xaxis", axes.xaxis), ("yaxis", axes.yaxis)):
        low, high = layout[name]["range"]
        values = MaxNLocator(TICKS, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
        ticks = [float(value) for value in values if low <= value <= high]
        labels = [f"{tick:.6g}{layout[name]['ticksuffix']}" for tick in ticks]
        side.set_ticks(ticks, labels, **_text(11.5))
        side.set_tick_params(color=AXIS, width=0.5, length=2.5, pad=2.5, direction="out", **SIDES)
        side.grid(True, color=GRID, linewidth=0.5, linestyle="-", **CAPS)
    axes.set_xlim(*layout["xaxis"]["range"])
    axes.set_ylim(*layout["yaxis"]["range"])
    axes.set_axisbelow(True)
    axes.set_xlabel(layout["xaxis"]["title"]["text"], labelpad=4, **_text(12))
    for place, spine in axes.spines.items():
        spine.set(visible=place in ("left", "bottom"), color=AXIS, linewidth=0.6)


def _transform(axes: Axes, part: Part) -> Transform:
    """Where the coordinates of a part are: on an axis, or as a share of its length."""
    from matplotlib.transforms import blended_transform_factory

    x, y = (
        axes.transAxes if part[f"{name}ref"].endswith("domain") else axes.transData
        for name in ("x", "y")
    )
    return blended_transform_factory(x, y)


def _add_line(axes: Axes, shape: Part) -> None:
    """A reference line or a leader line, under the series."""
    from matplotlib.lines import Line2D

    line = Line2D(
        [shape["x0"], shape["x1"]],
        [shape["y0"], shape["y1"]],
        transform=_transform(axes, shape),
        color=shape["line"]["color"],
        linewidth=shape["line"]["width"] * POINT,
        linestyle=DASHES[shape["line"]["dash"]],
        alpha=shape.get("opacity", 1),
        zorder=2,
        **CAPS,
    )
    axes.add_artist(line)


def _trace(trace: Part, order: float = 3) -> list[Artist]:
    """The line and the markers of a trace, and what is inside its markers."""
    from matplotlib.lines import Line2D

    style = {"alpha": trace.get("opacity", 1), "zorder": order}
    artists: list[Artist] = []
    if "lines" in trace["mode"]:
        line = trace["line"]
        width, dash = line["width"] * POINT, DASHES[line["dash"]]
        line_style = {"color": line["color"], "linewidth": width, "linestyle": dash}
        line_style |= CAPS
        artists.append(Line2D(trace["x"], trace["y"], **line_style, **style))
    if "markers" not in trace["mode"]:
        return artists
    marker = trace["marker"]
    color, size = marker["color"], marker["size"] * POINT
    shape = max((name for name in MARKERS if marker["symbol"].startswith(name)), key=len)
    is_open, edge = "open" in marker["symbol"], marker.get("line", {"width": 1})["width"] * POINT
    parts = [(MARKERS[shape], size, "none" if is_open else color, color, edge)]
    for name in marker["symbol"].removeprefix(shape).split("-"):
        if name in INSIDE:
            inner, share = INSIDE[name]
            ink = color if is_open else PAPER
            parts.append((inner, size * share, ink, ink, edge * 0.75))
    for symbol, diameter, face, rim, width in parts:
        artists.append(
            Line2D(
                trace["x"],
                trace["y"],
                color=rim,
                linestyle="none",
                marker=symbol,
                markersize=diameter,
                markerfacecolor=face,
                markeredgecolor=rim,
                markeredgewidth=width,
                **style,
            )
        )
    return artists


def _add_error_bars(axes: Axes, trace: Part, order: float) -> None:
    """A vertical line from the low to the high end of each interval, with a cap at both ends."""
    from matplotlib.collections import LineCollection
    from matplotlib.lines import Line2D

    bars, opacity = trace["error_y"], trace.get("opacity", 1)
    rows = zip(trace["x"], trace["y"], bars["arrayminus"], bars["array"], strict=True)
    # The length of an interval that is not known is NaN.
    ends = [((x, y - down), (x, y + up)) for x, y, down, up in rows if up == up]
    width = bars["thickness"] * POINT
    style = {"alpha": opacity, "zorder": order}
    lines = LineCollection(ends, colors=bars["color"], linewidths=width, capstyle="butt", **style)
    axes.add_collection(lines, autolim=False)
    caps = Line2D(
        [x for interval in ends for x, _ in interval],
        [y for interval in ends for _, y in interval],
        color=bars["color"],
        linestyle="none",
        marker="_",
        markersize=2 * bars["width"] * POINT,
        markeredgecolor=bars["color"],
        markeredgewidth=width,
        **style,
    )
    axes.add_artist(caps)


def _add_label(axes: Axes, label: Part) -> None:
    """A text beside a marker or at the end of a line, and the line to it."""
    from matplotlib.patheffects import withStroke

    style = _text(label.get("font", {"size": 12})["size"])
    offset = label.get("ax", 0) * POINT, -label.get("ay", 0) * POINT
    arrow = None
    if label["showarrow"]:
        width, distance = label["arrowwidth"] * POINT, label.get("standoff", 0) * POINT
        arrow = {"arrowstyle": "-", "color": label["arrowcolor"], "linewidth": width}
        arrow |= {"shrinkA": 1.5, "shrinkB": distance, "relpos": (float(offset[0] < 0), 0.5)}
        arrow |= {"patchA": None}
    glyph = GLYPH.match(label["text"])
    texts = [
        (_plain(label["text"].removeprefix(glyph[0]) if glyph else label["text"]), INK, offset)
    ]
    if glyph:
        beside = offset[0] + GLYPH_WIDTH * POINT, offset[1]
        texts = [(_plain(glyph[0]), glyph[1], offset), (texts[0][0], INK, beside)]
    if "standoff" in label:  # beside a marker, where lines may cross it
        style["path_effects"] = [withStroke(linewidth=1.5, foreground=PAPER)]
    for number, (text, color, place) in enumerate(texts):
        axes.annotate(
            text,
            (label["x"], label["y"]),
            place,
            xycoords=_transform(axes, label),
            textcoords="offset points",
            ha=label.get("xanchor", "center"),
            va="center",
            arrowprops=None if number else arrow,
            annotation_clip=False,
            linespacing=1.05,
            zorder=99,
            **{**style, "color": color},
        )


def _legend_columns(legend: Sequence[Part], width: float) -> int:
    """How many columns of the legend fit into `width` pixels, at most four."""
    widths = np.array([LEGEND_HANDLE + LETTER * len(entry["name"]) for entry in legend])
    for columns in range(min(4, len(legend)), 1, -1):
        # Matplotlib fills the columns like this, and each is as wide as its longest name.
        if sum(column.max() for column in np.array_split(widths, columns)) <= width:
            return columns
    return 1


def _add_legend(figure: Figure, entries: Sequence[Part], columns: int) -> None:
    """The legend at the bottom, and a note below it if a name could not be written in full."""
    width, height = figure.get_size_inches() * PIXELS_PER_INCH
    names = [_writable(_plain(entry["name"])) for entry in entries]
    samples: list[Any] = [tuple(_trace({**entry, "x": [], "y": []})) for entry in entries]
    legend = figure.legend(
        samples,
        # A label that begins with _ would be left out, so the names are written afterwards.
        [" "] * len(entries),
        loc="lower left",
        bbox_to_anchor=(12 / width, NOTE_LINE / height),
        borderaxespad=0,
        ncols=columns,
        frameon=False,
        numpoints=1,
        markerscale=1,
        prop=_text(12)["fontproperties"],
        handlelength=3.6,
        labelspacing=0.35,
        columnspacing=1.5,
    )
    for text, (name, fonts) in zip(legend.get_texts(), names, strict=True):
        text.set_text(name)
        text.set(**_text(12, other_fonts=fonts))
    if any(UNKNOWN in name for name, _ in names):
        style = {**_text(10), "color": AXIS}
        figure.text(16 / width, 5 / height, UNKNOWN_NOTE, ha="left", va="bottom", **style)
