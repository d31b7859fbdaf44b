# SPDX-License-Identifier: ISC
"""Draws `encsync top` as an SVG, from two firewalls that run, with flows, a bulk update and an
attacker who is refused: `./run picture FILE`."""

from __future__ import annotations

import html
import re
import sys
import time
from pathlib import Path

import conntrack
import sync
from lab import Lab
from pair import FirewallPair
from terminal import Terminal

COLUMNS, ROWS, LETTER, LINE = 80, 24, 8.4, 18
INK, PAPER = "#d8dee9", "#1d2128"
COLORS = {"31": "#ff6b6b", "32": "#7ec87e"}


def runs(line: str):
    """(text, color, bold, reverse) for each part of a line that has the same attributes."""
    color, bold, reverse = INK, False, False
    for part in re.split(r"(\x1b\[[0-9;]*m)", line):
        if not part.startswith("\x1b"):
            if part:
                yield part, color, bold, reverse
            continue
        for code in part[2:-1].split(";"):
            if code in ("", "0"):
                color, bold, reverse = INK, False, False
            elif code == "1":
                bold = True
            elif code == "7":
                reverse = True
            elif code in COLORS or code == "39":
                color = COLORS.get(code, INK)


def svg(screen: str) -> str:
    width, height = COLUMNS * LETTER + 20, ROWS * LINE + 20
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
           f'font-family="monospace" font-size="14">',
           f'<rect width="100%" height="100%" rx="6" fill="{PAPER}"/>']
    for row, line in enumerate(screen.splitlines()[:ROWS]):
        column = 0
        for text, color, bold, reverse in runs(line):
            x, y, length = 10 + column * LETTER, 10 + row * LINE, len(text) * LETTER
            if reverse:
                out.append(f'<rect x="{x:g}" y="{y:g}" width="{length:g}" height="{LINE}" '
                           f'fill="{color}"/>')
                color = PAPER
            weight = ' font-weight="bold"' if bold else ""
            if text.strip():
                out.append(f'<text x="{x:g}" y="{y + 14:g}" fill="{color}"{weight} '
                           f'textLength="{length:g}" xml:space="preserve">'
                           f'{html.escape(text)}</text>')
            column += len(text)
    return "\n".join([*out, "</svg>"]) + "\n"


def main(file: Path) -> None:
    with Lab(strict=True) as lab:
        pair = FirewallPair(lab)
        mickey, minnie = sync.equip(pair)
        for instance in (mickey, minnie):
            instance.start()
        sync.wait_in_step(mickey, minnie)
        mickey.command("role", "active")
        minnie.command("role", "standby")
        terminal = Terminal(pair.mickey, mickey.argv("top"), COLUMNS, ROWS)
        terminal.wait("minnie ")
        for n in range(30):
            conntrack.insert_many(pair.mickey, 40 + 130 * (n * n % 7), f"10.0.{n}",
                                  proto="udp" if n % 2 else "tcp")
            time.sleep(1)
        minnie.stop()
        terminal.wait("minnie: not in step")
        minnie.start()
        terminal.wait("minnie: in step")
        conntrack.insert_many(pair.mickey, 500, "10.0.90")
        time.sleep(2)
        file.write_text(svg(terminal.colored()))
        print(terminal.screen())
        terminal.close()


main(Path(sys.argv[1]))
