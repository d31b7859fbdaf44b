# SPDX-License-Identifier: ISC
"""A terminal for programs that need one: tmux's, in a node of a lab."""

from __future__ import annotations

import itertools
import shlex

from lab import LabError, Node, wait_for


class Terminal:
    """A program in a terminal of that size; what it shows then is in screen()."""

    numbers = itertools.count()

    def __init__(self, node: Node, argv: list, columns: int = 80, rows: int = 24,
                 kind: str = "screen-256color", unicode: bool = True):
        self.node, self.socket = node, node.dir / f"tmux{next(self.numbers)}"
        program = shlex.join(map(str, argv))
        codeset = "C.UTF-8" if unicode else "C"
        # It stays until it was looked at.
        self._tmux("-f", "/dev/null", "new-session", "-d", "-x", columns, "-y", rows,
                   f"TERM={kind} LC_ALL={codeset} {program}; status=$?; echo; "
                   "echo exit status $status; cat")

    def _tmux(self, *args) -> str:
        return self.node.run("tmux", "-u", "-S", self.socket, *args).stdout

    def screen(self) -> str:
        return self._tmux("capture-pane", "-p")

    def colored(self) -> str:
        """The screen with its attributes, as the escape sequences of ECMA-48."""
        return self._tmux("capture-pane", "-p", "-e")

    def lines(self) -> list[str]:
        return self.screen().splitlines()

    def press(self, *keys: str) -> None:
        self._tmux("send-keys", *keys)

    def resize(self, columns: int, rows: int) -> None:
        self._tmux("resize-window", "-x", columns, "-y", rows)

    def wait(self, text: str, timeout: float = 20) -> str:
        def shown() -> str:
            screen = self.screen()
            return screen if text in screen else ""
        try:
            return wait_for(shown, timeout, text)
        except LabError:
            print(self.screen())
            raise

    def close(self) -> None:
        self.node.run("tmux", "-S", self.socket, "kill-server", check=False)
