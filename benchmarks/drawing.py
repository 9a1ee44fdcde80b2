"""Draw the pictures as SVG: legible on light and dark pages, with a title and a description for who cannot see them."""

from __future__ import annotations

import io
from html import escape
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from benchmarks.harness import ROOT
from benchmarks.pictures import PICTURES, Picture

FOLDER = ROOT / "docs/explanation/performance"
#: Of letters and axes: about as far from white as from black.
INK = "#727c87"
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "trellis",
    "font.family": "sans-serif",
    "font.sans-serif": ["system-ui", "Segoe UI", "Helvetica", "Arial", "DejaVu Sans"],
    "font.size": 10.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": INK,
    "grid.alpha": 0.2,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
}


def draw_all(results: dict[str, Any]) -> list[str]:
    """The names of what was drawn: all for which there is a result."""
    names = [name for name, picture in PICTURES.items() if picture.script in results]
    FOLDER.mkdir(exist_ok=True)
    for name in names:
        (FOLDER / f"{name}.svg").write_text(_svg(PICTURES[name], results[PICTURES[name].script]))
    return names


def _svg(picture: Picture, found: Any) -> str:
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, picture.height), layout="constrained")
        axes = figure.subplots()
        axes.set_title(picture.title)
        picture.draw(found, axes)
        if axes.get_legend_handles_labels()[0]:
            figure.legend(loc="outside lower center", ncols=7, columnspacing=1.4, handlelength=1.2)
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _with_words(drawn.getvalue(), picture.title, picture.describe(found))


def _with_words(svg: str, title: str, description: str) -> str:
    head, opening, rest = svg.partition("<svg ")
    attributes, _, body = rest.partition(">")
    words = f'<title id="title">{escape(title)}</title>\n <desc id="desc">{escape(description)}</desc>'
    text = f'{head}{opening}role="img" aria-labelledby="title desc" {attributes}>\n {words}{body}'
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"
