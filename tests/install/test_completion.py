# SPDX-License-Identifier: ISC
"""What bash and zsh complete after `encsync`, from the files that are installed."""

from __future__ import annotations

import re
import subprocess

import pytest

from conftest import REPOSITORY, build_dir

ENCSYNC = build_dir() / "bin/encsync"
CONFIG = """
config setup
    node=mickey
conn minnie
    left=192.0.2.1
conn  donald # a comment
conn %default
"""
# The candidates, one a line; zsh's _describe and _files are those of its completion system.
BASH = """
source "$1"; shift
COMP_WORDS=(encsync "$@"); COMP_CWORD=$#
_encsync
printf '%s\\n' "${COMPREPLY[@]}"
"""
ZSH = """
_describe() { print -l -- "${(@P)2}" }
_files() { print FILES }
file=$1; shift
words=(encsync "$@"); CURRENT=$#words
source "$file"
"""


class Shell:
    def __init__(self, destdir, name: str):
        share = destdir / "usr/local/share"
        self.name = name
        self.file = share / {"bash": "bash-completion/completions/encsync",
                             "zsh": "zsh/site-functions/_encsync"}[name]
        self._command = {"bash": ["bash", "--norc", "-c", BASH, "bash"],
                         "zsh": ["zsh", "-fc", ZSH, "zsh"]}[name]

    def completes(self, *words: str) -> set[str]:
        """The candidates for the last word. None: files."""
        done = subprocess.run([*self._command, self.file, *words], capture_output=True, text=True)
        assert done.stderr == ""
        found = {re.sub(r"(?<!\\):.*", "", line) if self.name == "zsh" else line
                 for line in done.stdout.splitlines()} - {"", "FILES"}
        return {word for word in found if word.startswith(words[-1])}


@pytest.fixture(scope="module", params=["bash", "zsh"])
def shell(request, destdir):
    return Shell(destdir, request.param)


@pytest.fixture
def config(tmp_path) -> str:
    path = tmp_path / "encsync.conf"
    path.write_text(CONFIG)
    return str(path)


def test_every_verb_of_the_help_is_offered(shell):
    def verbs(*path: str) -> set[str]:
        text = subprocess.run([ENCSYNC, *path, "--help"], capture_output=True, text=True).stdout
        part = text.partition("Subcommands:\n")[2]
        return set(re.findall(r"^  (\S+)", part, re.MULTILINE))

    assert len(verbs()) > 15 and len(verbs("keys")) > 15
    for path in (), ("keys",), ("keys", "ppk"), ("keys", "psk"), ("keys", "cert"), ("policy",):
        offered = {word for word in shell.completes(*path, "") if not word.startswith("-")}
        assert offered == verbs(*path), path


def test_options_and_what_they_may_be(shell):
    assert shell.completes("keys", "rotate", "--w") == {"--what", "--without"}
    assert shell.completes("keys", "rotate", "--what", "") == {"sa", "ppk", "identity", "all"}
    assert shell.completes("role", "s") == {"standby"}
    assert shell.completes("talkers", "--by", "s") == {"source", "service"}
    assert shell.completes("metrics", "--format", "o") == {"openmetrics"}
    # Those of every verb, and of a group; not those of others.
    assert {"--json", "--config", "--keydir"} <= shell.completes("keys", "show", "-")
    assert "--keydir" not in shell.completes("status", "-")
    assert shell.completes("statu", "") & {"--ready"} == set()


def test_a_peer_is_one_of_the_configuration(shell, config):
    for words in ("bulk",), ("keys", "rotate", "--peer"), ("keys", "rotate", "--without"), ("pair",):
        offered = shell.completes("--config", config, *words, "")
        assert {word for word in offered if not word.startswith("-")} == {"minnie", "donald"}
    assert "minnie" not in shell.completes("--config", "/nowhere", "bulk", "")


def test_files_are_left_to_the_shell(shell):
    assert shell.completes("--config", "") == set()
    assert shell.completes("monitor", "--write", "") == set()


def test_what_is_installed_is_what_the_command_prints(shell):
    printed = subprocess.run([ENCSYNC, "completion", shell.name], capture_output=True, text=True)
    assert printed.stdout == shell.file.read_text() != ""
    assert subprocess.run([ENCSYNC, "completion", "fish"], capture_output=True).returncode == 2
    assert REPOSITORY.joinpath("docs/man/encsync.8").read_text().count(".B completion") == 1
