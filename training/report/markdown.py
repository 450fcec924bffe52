"""Document -> Markdown, as code hosts show it; the figures lie beside it in a folder."""

import re

from training.report.document import Block, Code, Document, Heading, Items, Missing, Notice, Paragraph, Picture, Table

FIGURES = "figures"
# The characters that start markup anywhere; brackets and dashes alone do not, and a reader of the raw text needs them.
_SPECIAL = re.compile(r"([\\`*_\[\]|~$])")
_LINK = re.compile(r":(?=//)|(?<=www)\.")  # hosts make links of bare addresses


def render_markdown(document: Document) -> str:
    parts = [f"# {plain(document.title)}", *map(_block, document.blocks)]
    return "\n\n".join(parts) + "\n"


def plain(text: str) -> str:
    """Text that Markdown shows as it stands: no markup, no HTML, on one line."""
    one_line = " ".join(text.split())
    one_line = one_line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    marked = _SPECIAL.sub(r"\\\1", one_line)
    # At the start of a line these would begin a heading or a list.
    marked = re.sub(r"^(\d*)(?=[#+.)-](?:\s|$|#))", r"\1\\", marked)
    return _LINK.sub(lambda found: f"&#{ord(found[0])};", marked)


def _block(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"{'#' * level} {plain(text)}"
        case Paragraph(text):
            return plain(text)
        case Notice(text, loud):
            return f"> **{plain(text)}**" if loud else f"> {plain(text)}"
        case Items(items):
            return "\n".join(f"- {plain(item)}" for item in items)
        case Code(text):
            return "\n".join(f"    {line}" for line in text.splitlines())
        case Missing(number, reason):
            return f"**{plain(number)}** is not shown: {plain(reason)}"
        case Table():
            return _table(block)
        case Picture():
            return f"![{plain(block.alt)}]({FIGURES}/{block.file_name})\n\n{_caption(block)}"


def _table(table: Table) -> str:
    lines = [_line(table.header), "|" + " --- |" * len(table.header)]
    lines += [_line(cells, strong=place in table.strong) for place, cells in enumerate(table.rows)]
    return f"{_caption(table)}\n\n" + "\n".join(lines)


def _line(cells: tuple[str, ...], *, strong: bool = False) -> str:
    shown = [f"**{plain(cell)}**" if strong and cell else plain(cell) for cell in cells]
    return "| " + " | ".join(shown) + " |"


def _caption(numbered: Picture | Table) -> str:
    return f"**{plain(numbered.number)}.** {plain(numbered.caption)}"
