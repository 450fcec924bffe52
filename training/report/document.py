"""A report as blocks in reading order, whatever it is rendered to. All text is plain; the renderers escape it.

Rendering is in html.py and markdown.py; what a study's report says is composed in compose.py.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Heading:
    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    text: str


@dataclass(frozen=True)
class Notice:
    """A sentence that must not be overlooked. loud: it warns."""

    text: str
    loud: bool = False


@dataclass(frozen=True)
class Items:
    """An unordered list."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Code:
    """A command, as it was typed."""

    text: str


@dataclass(frozen=True)
class Table:
    """number: as people cite it, "Table 2". header: one word a column. strong: places of the rows that stand out.

    The first cell of each row names the row.
    """

    number: str
    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    strong: frozenset[int] = field(default_factory=frozenset)

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.header):
                raise ValueError(f"{self.number} has {len(self.header)} columns, a row has {len(row)}: {row}")


@dataclass(frozen=True)
class Picture:
    """number: "Figure 2". alt: what it shows, for those who do not see it. content: SVG or PNG, as `suffix` says.

    Plots are SVG; what shows a radiograph is PNG.
    """

    number: str
    caption: str
    alt: str
    content: bytes
    suffix: str

    @property
    def file_name(self) -> str:
        return f"{slug(self.number)}.{self.suffix}"


@dataclass(frozen=True)
class Missing:
    """A figure or table that this cohort cannot give, and why: it keeps its place."""

    number: str
    reason: str


Block = Heading | Paragraph | Notice | Items | Code | Table | Picture | Missing


@dataclass(frozen=True)
class Document:
    """title: of the file, and its first heading."""

    title: str
    blocks: tuple[Block, ...]

    def pictures(self) -> Iterator[Picture]:
        return (block for block in self.blocks if isinstance(block, Picture))

    def without_radiographs(self) -> "Document":
        """A copy that may go where patients' pictures must not."""
        left_out = "it shows radiographs, which this copy of the report leaves out."
        blocks = (
            Missing(block.number, left_out) if isinstance(block, Picture) and block.suffix == "png" else block
            for block in self.blocks
        )
        return replace(self, blocks=tuple(blocks))

    def chapters(self) -> Iterator[Heading]:
        return (block for block in self.blocks if isinstance(block, Heading) and block.level == 2)


def slug(text: str) -> str:
    """An anchor or file name: small letters, digits and dashes only, whatever the text holds."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "part"
