"""The renderers: nothing that a manifest holds becomes markup, and every figure and table can be cited."""

import re
from html.parser import HTMLParser

import pytest

from training.report.document import (
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
from training.report.html import render_html
from training.report.markdown import plain, render_markdown

EVIL = '<script>alert("1")</script> & \'"><img src=x onerror=alert(1)>'
PICTURE = Picture("Figure 9", f"Caption {EVIL}", f"Alt {EVIL}", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "svg")
EVERYTHING = Document(
    f"Title {EVIL}",
    (
        Paragraph(EVIL),
        Heading(f"Chapter {EVIL}"),
        Notice(EVIL, loud=True),
        Items((EVIL, "plain")),
        Code(EVIL),
        Missing(f"Figure 8 {EVIL}", EVIL),
        Table("Table 9", EVIL, (EVIL, "b"), ((EVIL, "0.83 (0.71 to 0.91), 25/30"), ("z", EVIL)), frozenset({1})),
        PICTURE,
    ),
)


class Seen(HTMLParser):
    """Tags and their attributes, as a browser sees them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_html_shows_hostile_text_and_runs_none_of_it() -> None:
    seen = Seen(render_html(EVERYTHING))
    assert not [tag for tag, _ in seen.tags if tag == "script"]
    assert not [name for _, attributes in seen.tags for name in attributes if name.startswith("on")]
    assert seen.text.count('<script>alert("1")</script>') >= 11, "it must still be read, as text"
    assert [attributes["alt"] for tag, attributes in seen.tags if tag == "img"] == [PICTURE.alt]


def test_html_fetches_nothing() -> None:
    seen = Seen(render_html(EVERYTHING))
    addresses = [attributes[name] for _, attributes in seen.tags for name in ("src", "href") if name in attributes]
    assert addresses and all(str(address).startswith(("data:", "#")) for address in addresses)
    assert "url(" not in render_html(EVERYTHING) and "@import" not in render_html(EVERYTHING)


def test_html_tables_have_captions_and_headers_for_columns_and_rows() -> None:
    page = render_html(EVERYTHING)
    assert "<caption><b>Table 9.</b>" in page
    assert page.count('<th scope="col">') == 2 and page.count('<th scope="row">') == 2
    assert '<tr class="strong">' in page


def test_links_of_the_contents_lead_somewhere() -> None:
    seen = Seen(render_html(EVERYTHING))
    places = {attributes["id"] for _, attributes in seen.tags if "id" in attributes}
    links = {str(attributes["href"])[1:] for tag, attributes in seen.tags if tag == "a"}
    assert links and links <= places


def test_markdown_holds_no_html_and_no_broken_table() -> None:
    text = render_markdown(EVERYTHING)
    prose = "\n".join(line for line in text.splitlines() if not line.startswith("    "))  # a command stands as typed
    assert "<" not in prose
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {3}
    assert "(figures/figure-9.svg)" in text and "0.83 (0.71 to 0.91), 25/30" in text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a | b", "a \\| b"),
        ("[x](http://evil.example)", "\\[x\\](http&#58;//evil.example)"),
        ("www.evil.example", "www&#46;evil.example"),
        ("# no heading", "\\# no heading"),
        ("1. no list", "1\\. no list"),
        ("- no list", "\\- no list"),
        ("two\nlines", "two lines"),
        ("0.83 (0.71 to 0.91), 25/30", "0.83 (0.71 to 0.91), 25/30"),
        ("Zürich, Besançon", "Zürich, Besançon"),
    ],
)
def test_plain_text_in_markdown(text: str, shown: str) -> None:
    assert plain(text) == shown


def test_a_table_with_a_short_row_is_refused() -> None:
    with pytest.raises(ValueError, match="Table 1 has 2 columns, a row has 1"):
        Table("Table 1", "", ("a", "b"), (("only",),))


def test_file_names_hold_no_path() -> None:
    assert slug("../../Figure s3 é") == "figure-s3"
    assert slug("☃") == "part"
