# SPDX-License-Identifier: ISC
"""Looks at the sources without running them.

    lint.py CHECK...        of: format, text, claims, shell, python, folders, tidy

format, shell, python and tidy are clang-format, ShellCheck, flake8 and clang-tidy, as the repository
configures them. text: line ends, the licence and, but in documents, the length of lines. claims: the
tests that docs/security.md names exist. folders: which folder includes which, by the table under
"Folders" in docs/architecture.md.

tidy takes ten seconds a file. So it remembers (build/tidy) which files were clean: by their text,
that of our own headers below them, the compiler's command and the checks.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = "src", "ipsec", "keys", "tests", "conf", "debian", "docs", ".ci", ".github"
WIDTH = 120
LICENCE = re.compile(r"^\W*SPDX-License-Identifier: (ISC|GPL-2\.0-or-later)$", re.M)
FOLDER_ROW = re.compile(r"\| `([\w/]+)` \|.*\| ([^|]*) \|$")
QUOTED = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.M)


def files(*suffixes: str) -> list[str]:
    """Ours with one of these suffixes, as paths from the root."""
    found = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.is_file()]
    found += [path for path in ROOT.iterdir() if path.is_file() and path.name != ".git"]
    return sorted(str(path.relative_to(ROOT)) for path in found
                  if path.suffix in suffixes and "__pycache__" not in path.parts)


def shell_scripts() -> list[str]:
    return files(".sh", ".postinst", ".postrm") + [
        name for name in files("") if re.match(rb"#!.*\b(ba)?sh\b", (ROOT / name).read_bytes())]


def sources() -> list[str]:
    return files(".cpp", ".hpp", ".c", ".h")


def run(*command: str) -> list[str]:
    """What a checker says; nothing if it is content."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return [] if done.returncode == 0 else [(done.stdout + done.stderr).strip()]


# ---- the checks ------------------------------------------------------------------------------


def check_format() -> list[str]:
    return run("clang-format", "--dry-run", "-Werror", *sources())


def check_text() -> list[str]:
    wrong = []
    code = [*sources(), *files(".py", ".sh", ".cmake", ".lua"), "run"]
    for name in [*code, *files(".md", ".txt", ".yml")]:
        text = (ROOT / name).read_text()
        if name in code and not LICENCE.search("\n".join(text.split("\n")[:3])):
            wrong.append(f"{name}: no line that says its licence and nothing else")
        for number, line in enumerate(text.split("\n"), 1):
            if line != line.rstrip():
                wrong.append(f"{name}:{number}: space at the end of the line")
            if len(line.expandtabs(4)) > WIDTH and not name.endswith(".md"):
                wrong.append(f"{name}:{number}: longer than {WIDTH} characters")
        if text and not text.endswith("\n"):
            wrong.append(f"{name}: no newline at the end")
    return wrong


def check_claims() -> list[str]:
    """docs/security.md names the test that shows each of its claims: it exists."""
    document = "docs/security.md"
    tests = "\n".join((ROOT / name).read_text() for name in files(".cpp", ".txt")
                      if name.startswith("tests/"))
    unit = {".".join(names) for names in re.findall(r"^TEST\w*\((\w+), (\w+)\)", tests, re.M)}
    wrong = []
    for group, name in re.findall(r"`(lab|vm|fuzz|[A-Z]\w+)\.(\w+)`",
                                  (ROOT / document).read_text()):
        there = {"lab": f"tests/lab/test_{name}.py", "vm": f"tests/vm/{name}.py"}.get(group)
        if not ((ROOT / there).is_file() if there else
                re.search(rf"\b{name}\b", tests) if group == "fuzz" else
                f"{group}.{name}" in unit):
            wrong.append(f"{document}: there is no test {group}.{name}")
    return wrong


def check_shell() -> list[str]:
    return run("shellcheck", *shell_scripts())


def check_python() -> list[str]:
    return run("/usr/bin/python3", "-m", "flake8", *files(".py"))


def dependencies() -> dict[str, set[str]]:
    """Folder to the folders that it may include: the table in docs/architecture.md."""
    table = {}
    for line in (ROOT / "docs/architecture.md").read_text().splitlines():
        if row := FOLDER_ROW.match(line):
            table[row[1]] = set(re.findall(r"[\w/]+", row[2]))
    short = {folder.split("/")[-1]: folder for folder in table}
    return {folder: set(table) if "all" in words
            else {short[word] for word in words | {"util"} if word in short}
            for folder, words in table.items()}


def resolve(name: str, included: str) -> str | None:
    """The file of ours that `#include "included"` in the file `name` means."""
    for base in (Path(name).parent, Path("."), Path("src")):
        if (ROOT / base / included).is_file():
            return os.path.normpath(base / included)
    return None


def includes(name: str) -> list[str]:
    found = (resolve(name, each) for each in QUOTED.findall((ROOT / name).read_text()))
    return [each for each in found if each]


def folder_of(name: str, table: dict[str, set[str]]) -> str | None:
    return next((folder for folder in table if name.startswith(folder + "/")), None)


def check_folders() -> list[str]:
    table = dependencies()
    wrong = []
    for name in (n for n in sources() if n.startswith(("src/", "ipsec/", "keys/"))):
        folder = folder_of(name, table)
        if folder is None:
            if Path(name).parent != Path("src"):  # the programs' own files
                wrong.append(f"{name}: its folder is not in the table of docs/architecture.md")
            continue
        for included in includes(name):
            other = folder_of(included, table)
            if other not in (None, folder) and other not in table[folder]:
                wrong.append(f"{name}: includes {included}, but {folder} does not depend on {other}")
    return wrong


# ---- clang-tidy ------------------------------------------------------------------------------


def with_headers(name: str) -> list[str]:
    """The file and all of our own that it includes."""
    seen = [name]
    for each in seen:
        seen += [header for header in includes(each) if header not in seen]
    return seen


def tidy_key(entry: dict, version: str) -> Path:
    digest = hashlib.sha256((version + entry["command"]).encode())
    for name in [".clang-tidy", *sorted(with_headers(entry["name"]))]:
        digest.update(name.encode() + b"\0" + (ROOT / name).read_bytes())
    return ROOT / "build/tidy" / digest.hexdigest()


def check_tidy() -> list[str]:
    build = ROOT / "build/debug"
    version = subprocess.run(["clang-tidy", "--version"], capture_output=True, text=True).stdout
    entries = json.loads((build / "compile_commands.json").read_text())
    todo: dict[str, Path] = {}
    for entry in entries:
        path = Path(entry["directory"], entry["file"]).resolve()
        if path.is_relative_to(build) or not path.is_relative_to(ROOT):
            continue  # generated
        entry["name"] = str(path.relative_to(ROOT))
        clean = tidy_key(entry, version)
        if not clean.exists():
            todo[entry["name"]] = clean
    (ROOT / "build/tidy").mkdir(exist_ok=True)

    def look(name: str) -> list[str]:
        # Some of gcc's options are not clang's.
        said = run("clang-tidy", "--quiet", "--extra-arg=-Wno-unused-command-line-argument",
                   "-p", str(build), name)
        if not said:
            todo[name].touch()
        return said

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return [line for said in pool.map(look, todo) for line in said]


CHECKS = {"format": check_format, "text": check_text, "claims": check_claims, "shell": check_shell,
          "python": check_python, "folders": check_folders, "tidy": check_tidy}


def main() -> int:
    wanted = sys.argv[1:]
    if not wanted or set(wanted) - set(CHECKS):
        print(__doc__.strip(), file=sys.stderr)
        return 2
    wrong = [line for name in wanted for line in CHECKS[name]()]
    print("\n".join(wrong) or f"{', '.join(wanted)}: nothing to complain of")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
