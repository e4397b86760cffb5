"""One executed notebook as a part of the report's page."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

HIDDEN = {"setup", "parameters", "injected-parameters"}
# the page has one section on methods for all chapters, at its end
ELSEWHERE = re.compile(r"## Methods and limits\b")
VERDICTS = "reproduced|better|worse|cannot be decided"


def _breaking(name: str) -> str:
    return name.replace("_", "_<wbr>")


# nbconvert's HTML, made fit for standing beside other notebooks in one page
CHANGES = (
    # every notebook has a section "Data" and a cell 4: in one page their names must differ
    (r' id="cell-id=[^"]*"', ""),
    (r'<style type="text/css">\s*</style>\s*', ""),
    # a wide table scrolls in a box of its own
    (r"<table\b[^>]*>", r'<div class="scroll">\g<0>'),
    (r"</table>", r"\g<0></div>"),
    (rf"(<t[dh]\b[^>]*>)({VERDICTS})(?=</t[dh]>)", r'\1<span class="verdict \2">\2</span>'),
    # the name of a row or column may break at an underscore
    (r'(<th class="(?:col|row)_heading[^>]*>)([^<]*)', lambda th: th[1] + _breaking(th[2])),
    # sentences in a narrow table would stand one word to a line
    (r"(<td\b[^>]*>)([^<]{90,})(?=</td>)", r'\1<div class="long">\2</div>'),
)  # fmt: skip


def read(path: Path, level: int = 1) -> tuple[str, str]:
    """Title and HTML of an executed notebook, its headings `level` deeper than there."""
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    cells = [c for c in notebook.cells if not HIDDEN & set(c.metadata.get("tags", []))]
    title = ""
    if cells and cells[0].source.startswith("# "):
        title, _, rest = cells[0].source[2:].partition("\n")
        cells[0].source = rest.strip()
    for cell in cells:
        if cell.cell_type == "code":  # the executed notebook keeps what is left out here
            cell.outputs = [output for output in cell.outputs if _tells(output)]
    notebook.cells = [c for c in cells if not _empty(c) and not ELSEWHERE.match(c.source)]
    title = title or path.parent.name
    return title, _fit(_render(notebook), title, level)


def _empty(cell: Any) -> bool:
    return not cell.source.strip() or (cell.cell_type == "code" and not cell.outputs)


def _tells(output: Any) -> bool:
    """Has an output something to show? Rich displays an empty frame beside what it prints."""
    if output.output_type == "stream":
        return output.name != "stderr" and bool(output.text.strip())
    shown = output.get("data", {}).get("text/html")
    if shown is None or "<img" in shown or "<svg" in shown:
        return True
    return bool(re.sub(r"<style.*?</style>|<[^>]*>", "", shown, flags=re.DOTALL).strip())


def _render(notebook: Any) -> str:
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(
        template_name="basic",
        exclude_input=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        exclude_anchor_links=True,
    )
    return exporter.from_notebook_node(notebook)[0]


def _fit(body: str, title: str, level: int) -> str:
    for pattern, replacement in CHANGES:
        body = re.sub(pattern, replacement, body)
    # pandas draws the names of its cells at random, so two tables of a page may share them
    styled = set(re.findall(r"#(T_[0-9a-f]+)", body))
    body = re.sub(
        r' id="(T_[0-9a-f]+)[^"]*"', lambda found: found[0] if found[1] in styled else "", body
    )
    body = re.sub(r"<img\b[^>]*>", lambda found: _described(found[0], title), body)
    return re.sub(
        r"<(/?)h([1-6])\b", lambda found: f"<{found[1]}h{min(int(found[2]) + level, 6)}", body
    )


def _described(image: str, title: str) -> str:
    """An <img> with alternative text; nbconvert has only an apology for images displayed bare."""
    image = re.sub(r'\s+alt="(No description has been provided for this image)?"', "", image)
    if "alt=" in image:
        return image
    return image.replace("<img", f'<img alt="Figure of the chapter {html.escape(title)}"', 1)
