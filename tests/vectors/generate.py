#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Golden pfsync packets, assembled from the published layouts and not by our own code.

    generate.py           writes DIALECT/NAME.hex (the packet) and NAME.expect (its meaning)
    generate.py --check   compares with what is there; fails if anything differs
    generate.py --seeds DIR   writes each packet as a binary file into DIR

A .hex file is one line, as `encsync decode --hex` takes it.

"ours-" is what encsync writes, byte for byte; "pf-" is what pf writes; "bad-" is refused.
"""

import os
import sys

sys.dont_write_bytecode = True
# The neighbours, wherever this is called from.
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import freebsd_vectors  # noqa: E402
import openbsd_vectors  # noqa: E402

DIALECTS = {"openbsd": openbsd_vectors.vectors()}
for release in (1301, 1400, 1500):
    DIALECTS[f"freebsd-{release}"] = freebsd_vectors.vectors(release)


def files(vectors):
    out = {}
    for label, (data, lines) in vectors.items():
        out[f"{label}.hex"] = data.hex() + "\n"
        out[f"{label}.expect"] = "".join(line + "\n" for line in lines)
    return out


def differing(here, made):
    for n, text in made.items():
        path = os.path.join(here, n)
        if not os.path.exists(path):
            yield path
        else:
            with open(path, encoding="ascii") as f:
                if f.read() != text:
                    yield path
    if os.path.isdir(here):
        for n in sorted(set(os.listdir(here)) - set(made)):
            yield os.path.join(here, n)


def main():
    if len(sys.argv) == 3 and sys.argv[1] == "--seeds":
        for dialect, vectors in DIALECTS.items():
            for label, (data, _) in vectors.items():
                seed = label if dialect == "openbsd" else f"{dialect}-{label}"
                with open(os.path.join(sys.argv[2], seed), "wb") as f:
                    f.write(data)
        return 0
    if sys.argv[1:] not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    status = 0
    for dialect, vectors in DIALECTS.items():
        here = os.path.join(os.path.dirname(os.path.abspath(__file__)), dialect)
        made = files(vectors)
        if sys.argv[1:] == ["--check"]:
            for path in differing(here, made):
                print(f"{path}: not what generate.py makes", file=sys.stderr)
                status = 1
            continue
        os.makedirs(here, exist_ok=True)
        for n, text in made.items():
            with open(os.path.join(here, n), "w", encoding="ascii") as f:
                f.write(text)
    return status


sys.exit(main())
