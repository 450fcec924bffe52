"""Document -> one HTML file: figures embedded, no script, nothing fetched from elsewhere."""

import base64
import re
from html import escape

from training.report.document import (
    Block,
    Code,
    Document,
    Heading,
    Items,
    Missing,
    Notice,
    Paragraph,
    Picture,
    Table,
    slug,
)

_MEDIA = {"svg": "image/svg+xml", "png": "image/png"}
# The text comes from manifests: were an escape forgotten, the browser would still neither run nor fetch anything.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_FIGURE = re.compile(r"-?\d+\.\d+ \([^)]*\)")  # with its interval: stays on one line
_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; color: #1a1a1a; background: #fff;
  max-width: 64rem; margin: 2rem auto; padding: 0 1.25rem; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 1rem; }
h2 { font-size: 1.3rem; margin: 3rem 0 .75rem; padding-top: .75rem; border-top: 2px solid #1a1a1a; }
h3 { font-size: 1.05rem; margin: 2rem 0 .5rem; }
p, ul { margin: .6rem 0; max-width: 48rem; }
nav ul { columns: 2; padding-left: 1.2rem; }
nav a { color: #004b7a; }
figure { margin: 1.75rem 0; }
figure img { display: block; width: 100%; max-width: 50rem; height: auto; }
figcaption, caption { font-size: .875rem; line-height: 1.45; color: #333; text-align: left; }
figcaption { margin-top: .5rem; max-width: 50rem; }
caption { caption-side: top; padding-bottom: .4rem; }
figcaption b, caption b { color: #000; }
.scroll { overflow-x: auto; margin: 1.75rem 0; }
table { border-collapse: collapse; font-size: .8125rem; line-height: 1.35; font-variant-numeric: tabular-nums;
  border-bottom: 1.5px solid #1a1a1a; min-width: min(100%, 46rem); }
td span { white-space: nowrap; }
thead th { border-top: 1.5px solid #1a1a1a; border-bottom: 1px solid #1a1a1a; vertical-align: bottom; }
th, td { text-align: left; vertical-align: top; padding: .28rem .9rem .28rem 0; overflow-wrap: break-word; }
tbody th { font-weight: normal; min-width: 7rem; max-width: 16rem; }
tbody tr + tr > * { border-top: 1px solid #ddd; }
tr.strong > * { font-weight: 600; }
.notice { border-left: 5px solid #0072b2; background: #eef5fa; padding: .7rem 1rem; margin: 1.25rem 0;
  max-width: 48rem; }
.loud { border: 3px solid #b33c00; background: #fff1e8; font-weight: 600; font-size: 1.05rem; }
.missing { border-left: 3px solid #999; padding: .1rem 0 .1rem .8rem; color: #444; font-size: .9rem; margin: 1.5rem 0; }
pre { background: #f4f4f4; padding: .7rem .9rem; font-size: .8rem; white-space: pre-wrap; overflow-wrap: anywhere; }
@page { size: A4; margin: 16mm 15mm; }
@media print {
  body { font-size: 9.5pt; max-width: none; margin: 0; padding: 0; }
  nav { display: none; }
  h2 { break-after: avoid; margin-top: 1.6rem; }
  h3 { break-after: avoid; }
  figure, .notice, .missing, .scroll, tr { break-inside: avoid; }
  caption { break-after: avoid; }
  figure img { max-width: 178mm; max-height: 225mm; object-fit: contain; object-position: left; }
  .scroll { overflow: visible; }
  table { font-size: 7.5pt; min-width: 60%; }
  th, td { padding-right: .5rem; }
  thead { display: table-header-group; }
  .notice, .loud, pre { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""


def render_html(document: Document) -> str:
    """The whole page. The blocks before the first chapter are its first page; the contents follow them."""
    blocks = list(document.blocks)
    chapters = list(document.chapters())
    first = blocks.index(chapters[0]) if chapters else len(blocks)
    body = [*map(_block, blocks[:first]), _contents(chapters), *map(_block, blocks[first:])]
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(document.title)}</title>",
            f"<style>{_STYLE}</style>",
            "</head>",
            "<body>",
            f"<h1>{escape(document.title)}</h1>",
            *body,
            "</body>",
            "</html>",
            "",
        ]
    )


def _contents(chapters: list[Heading]) -> str:
    if not chapters:
        return ""
    entries = "".join(f'<li><a href="#{slug(item.text)}">{escape(item.text)}</a></li>' for item in chapters)
    return f'<nav aria-label="Contents"><ul>{entries}</ul></nav>'


def _block(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f'<h{level} id="{slug(text)}">{escape(text)}</h{level}>'
        case Paragraph(text):
            return f"<p>{escape(text)}</p>"
        case Notice(text, loud):
            return f'<p class="notice{" loud" if loud else ""}"{_role(loud)}>{escape(text)}</p>'
        case Items(items):
            return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"
        case Code(text):
            return f"<pre><code>{escape(text)}</code></pre>"
        case Missing(number, reason):
            return f'<p class="missing" id="{slug(number)}"><b>{escape(number)}</b> is not shown: {escape(reason)}</p>'
        case Table():
            return _table(block)
        case Picture():
            return _picture(block)


def _role(loud: bool) -> str:
    return ' role="alert"' if loud else ""


def _picture(picture: Picture) -> str:
    content = base64.b64encode(picture.content).decode()
    source = f"data:{_MEDIA[picture.suffix]};base64,{content}"
    return (
        f'<figure id="{slug(picture.number)}"><img src="{source}" alt="{escape(picture.alt)}">'
        f"<figcaption>{_caption(picture)}</figcaption></figure>"
    )


def _table(table: Table) -> str:
    header = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in table.header)
    rows = "\n".join(_row(cells, strong=place in table.strong) for place, cells in enumerate(table.rows))
    return (
        f'<div class="scroll"><table id="{slug(table.number)}"><caption>{_caption(table)}</caption>\n'
        f"<thead><tr>{header}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>"
    )


def _row(cells: tuple[str, ...], *, strong: bool) -> str:
    first, *others = cells
    marked = ' class="strong"' if strong else ""
    values = "".join(f"<td>{_unbroken(cell)}</td>" for cell in others)
    return f'<tr{marked}><th scope="row">{escape(first)}</th>{values}</tr>'


def _unbroken(cell: str) -> str:
    return _FIGURE.sub(r"<span>\g<0></span>", escape(cell))


def _caption(numbered: Picture | Table) -> str:
    return f"<b>{escape(numbered.number)}.</b> {escape(numbered.caption)}"
