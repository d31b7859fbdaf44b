#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The golden packets through the program: `encsync decode --hex` of each file shows the same as its
generator, section by section.

    command_test.py ENCSYNC
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

VECTORS = Path(__file__).resolve().parents[2] / "vectors"
# Refused by a node for a reason that is not in the packet: it expects one dialect of its peer, and
# its own states have one family and one protocol.
REFUSED_FOR_THE_READER = {
    "openbsd/bad-version", "freebsd-1301/bad-version", "freebsd-1400/bad-version",
    "freebsd-1500/bad-version", "freebsd-1301/bad-upd-c-timeout", "freebsd-1400/bad-action-del",
    "freebsd-1500/bad-action-del", "freebsd-1500/bad-af-to", "freebsd-1500/bad-protocols",
}


def expected(file: Path) -> tuple[list[tuple[str, int, int]], str | None]:
    """Sections as name or number, stride, count; and the first reason for a refusal."""
    sections, reason = [], None
    for line in file.with_suffix(".expect").read_text().splitlines():
        words = line.split()
        if words[0] == "section":
            sections.append((words[1], int(words[3]), int(words[5])))
        elif words[0] in ("fault", "refused") and reason is None:
            reason = words[1]
    return sections, reason


def found(said: dict) -> list[tuple[str, int, int]]:
    sections = []
    for section in said.get("sections", []):
        name = section["action"].lower().split("_1")[0]  # INS_1301
        if "skipped" in section or name == "otdb":
            name = str(section["number"])
        sections.append((name, section.get("stride"), section.get("count")))
    return sections


def main() -> int:
    encsync = sys.argv[1]
    files = sorted(VECTORS.glob("*/*.hex"))
    wrong, bad = [], 0
    # All of them as one stream, one packet per line; the first of each dialect also as a file.
    lines = subprocess.run([encsync, "decode", "--hex", "--json", "-"], capture_output=True,
                           text=True, input="".join(f.read_text() for f in files)).stdout
    all_said = [json.loads(line) for line in lines.splitlines()]
    assert len(all_said) == len(files) > 200, f"{len(all_said)} packets from {len(files)} files"
    seen = set()
    for file, said in zip(files, all_said):
        name = f"{file.parent.name}/{file.stem}"
        if file.parent not in seen:
            seen.add(file.parent)
            alone = subprocess.run([encsync, "decode", "--hex", "--json", file],
                                   capture_output=True, text=True)
            if json.loads(alone.stdout) != said or (alone.returncode != 0) != ("error" in said):
                wrong.append(f"{name}: as a file: {alone.stdout}{alone.stderr}")
        if name in REFUSED_FOR_THE_READER:
            continue
        sections, reason = expected(file)
        bad += reason is not None
        if said.get("error") != reason:
            wrong.append(f"{name}: error {said.get('error')}, not {reason}")
        # One more may follow: a section with a wrong header is shown as far as it can be read.
        if found(said)[:len(sections)] != sections:
            wrong.append(f"{name}: {found(said)}, not {sections}")
    assert bad > 20
    print("\n".join(wrong) or f"{len(files)} packets as they should be")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
