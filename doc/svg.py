# SPDX-License-Identifier: Apache-2.0
"""What the scripts that draw pictures of doc/ share: an SVG of plain shapes, and the command line.

A picture is text that depends on nothing but what its script reads, so it can be held against the committed file.
"""
import os
import sys
from xml.sax.saxutils import escape

FONT = "DejaVu Sans, Verdana, sans-serif"


def wide(words, size):
    """About how many pixels a text takes across: the letters of DejaVu Sans are 0.56 of its size on the mean."""
    return 0.56 * size * len(words)


class Picture:
    """Shapes in the order in which they are drawn; lengths in pixels."""

    def __init__(self, width, height, title):
        self.lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
            f'height="{height:g}" font-family="{FONT}" font-size="13">',
            f"<title>{escape(title)}</title>",
            '<rect width="100%" height="100%" fill="#ffffff"/>',
        ]

    def rectangle(self, left, top, width, height, fill, stroke="none", radius=0):
        self.lines.append(f'<rect x="{left:g}" y="{top:g}" width="{width:g}" height="{height:g}" rx="{radius:g}" '
                          f'fill="{fill}" stroke="{stroke}"/>')

    def path(self, commands, stroke, width=1.2, fill="none", dashes=None):
        dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
        self.lines.append(f'<path d="{commands}" fill="{fill}" stroke="{stroke}" stroke-width="{width:g}"{dashed}/>')

    def circle(self, x, y, radius, fill, stroke):
        self.lines.append(f'<circle cx="{x:g}" cy="{y:g}" r="{radius:g}" fill="{fill}" stroke="{stroke}" '
                          'stroke-width="2"/>')

    def text(self, x, y, words, size=13, anchor="start", weight="normal", fill="#222222"):
        self.lines.append(f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" text-anchor="{anchor}" '
                          f'font-weight="{weight}" fill="{fill}">{escape(words)}</text>')

    def written(self):
        return "\n".join(self.lines + ["</svg>"]) + "\n"


def write_or_check(path, text):
    """With --check compares, and gives 1 where the file differs; else writes the file."""
    if "--check" not in sys.argv[1:]:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return 0
    try:
        with open(path, encoding="utf-8") as file:
            if file.read() == text:
                return 0
    except FileNotFoundError:
        pass
    print(f"{path} is not what {os.path.basename(sys.argv[0])} draws; run it without --check")
    return 1
