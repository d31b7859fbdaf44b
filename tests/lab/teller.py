# SPDX-License-Identifier: ISC
"""How a demo is told: its steps, and a table of what was tried and what came of it."""

from __future__ import annotations

import os
import sys
import time

from lab import LabError, wait_for


class Teller:
    """Prints the steps. On a terminal with colours and a progress bar, else as plain lines."""

    def __init__(self):
        self.tty = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        self.started = time.monotonic()
        self._bar = False
        self._tenth = -1

    def _paint(self, code: str, text: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self.tty else text

    def _line(self, text: str) -> None:
        if self._bar:
            sys.stdout.write("\r\033[K")
            self._bar = False
        print(text, flush=True)

    def title(self, text: str) -> None:
        self._line(self._paint("1", text) + "\n")

    def step(self, text: str) -> None:
        at = f"{time.monotonic() - self.started:5.1f} s"
        self._line(f"{self._paint('2', at)}  {text}")

    def alarm(self, text: str) -> None:
        at = f"{time.monotonic() - self.started:5.1f} s"
        self._line(f"{self._paint('2', at)}  {self._paint('1;33', text)}")

    def detail(self, text: str) -> None:
        self._line(f"         {self._paint('2', text)}")

    def progress(self, got: int, size: int, what: str = "download") -> None:
        part = got / size if size else 0
        if self.tty:
            full = round(30 * part)
            bar = self._paint("36", "━" * full) + self._paint("2", "─" * (30 - full))
            sys.stdout.write(f"\r\033[K         {what} {bar} {part:4.0%}  {got / 1e6:5.1f} MB")
            sys.stdout.flush()
            self._bar = True
        elif int(part * 5) > self._tenth:
            self._tenth = int(part * 5)
            self._line(f"         {what} {part:4.0%}  {got / 1e6:5.1f} MB")

    def table(self, rows: list[tuple[str, str, bool | None]]) -> None:
        width = max(len(name) for name, _, _ in rows)
        marks = {True: self._paint("32", "yes"), False: self._paint("1;31", "NO "), None: "   "}
        self._line("")
        for name, value, held in rows:
            self._line(f"  {marks[held]}  {name:<{width}}  {value}")
        self._line("")

    def verdict(self, good: bool, text: str) -> None:
        self._line(self._paint("1;32" if good else "1;31", text))


def try_for(predicate, timeout: float) -> bool:
    try:
        return bool(wait_for(predicate, timeout, "", 0.1, exactly=True))
    except LabError:
        return False


def by_node(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())
