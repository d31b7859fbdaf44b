# SPDX-License-Identifier: ISC
"""The files that `./run install` installs: their places, and whether they work there."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from conftest import REPOSITORY, build_dir, install

FILES = {
    "usr/local/sbin/encsyncd": 0o755,
    "usr/local/bin/encsync": 0o755,
    "usr/local/lib/encsync/libstrongswan-encsync.so": 0o644,
    "usr/local/lib/systemd/system/encsync.service": 0o644,
    "usr/local/lib/sysusers.d/encsync.conf": 0o644,
    "usr/local/lib/modules-load.d/encsync.conf": 0o644,
    "usr/local/share/bash-completion/completions/encsync": 0o644,
    "usr/local/share/zsh/site-functions/_encsync": 0o644,
    "usr/local/share/man/man5/encsync.conf.5": 0o644,
    "usr/local/share/man/man8/encsync.8": 0o644,
    "usr/local/share/man/man8/encsyncd.8": 0o644,
    "usr/local/share/encsync/grafana/encsync.json": 0o644,
    "usr/local/share/encsync/prometheus/encsync.rules.yml": 0o644,
    "usr/local/share/encsync/wireshark/pfsync.lua": 0o644,
    "usr/local/share/doc/encsync/LICENSE": 0o644,
    "usr/local/share/doc/encsync/COPYING.libstrongswan-encsync": 0o644,
    "usr/local/share/doc/encsync/README.md": 0o644,
    "usr/local/share/doc/encsync/docs/configuration.md": 0o644,
    "usr/local/share/doc/encsync/keepalived.conf": 0o644,
    "usr/local/lib/sysctl.d/60-encsync.conf": 0o644,
    "etc/encsync/encsync.conf.example": 0o644,
}
DOCUMENTS = Path("usr/local/share/doc/encsync")
MAN = "usr/local/share/man"
PAGES = ["man5/encsync.conf.5", "man8/encsync.8", "man8/encsyncd.8"]


def run(*command, **options) -> subprocess.CompletedProcess:
    return subprocess.run([str(word) for word in command], capture_output=True, text=True,
                          **options)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


# ---- files -----------------------------------------------------------------------------------


def test_every_file_is_there_with_its_mode(destdir):
    found = {str(p.relative_to(destdir)): p for p in destdir.rglob("*") if not p.is_dir()}
    more = {name for name in found if DOCUMENTS not in Path(name).parents} - set(FILES)
    assert not more
    assert {name: mode(found[name]) for name in FILES if name in found} == FILES
    assert all(p.lstat().st_uid == 0 for p in destdir.rglob("*"))


def test_all_may_enter_the_directories(destdir):
    narrow = [p for p in destdir.rglob("*") if p.is_dir() and mode(p) != 0o755]
    assert not narrow


def test_a_configuration_and_keys_are_left_alone(tmp_path):
    mine = [tmp_path / "etc/encsync/encsync.conf", tmp_path / "etc/sysctl.d/60-encsync.conf"]
    for file in mine:
        file.parent.mkdir(parents=True)
        file.write_text("# mine\n")
        file.chmod(0o600)
    for _ in range(2):  # also over an existing installation
        assert install(tmp_path).returncode == 0
        assert all(file.read_text() == "# mine\n" and mode(file) == 0o600 for file in mine)
    assert not (tmp_path / "var").exists()


def test_what_is_no_build_is_not_installed(tmp_path):
    done = install(tmp_path, build=tmp_path)
    assert done.returncode == 1 and done.stderr == f"install: {tmp_path} is no build directory\n"
    assert list(tmp_path.iterdir()) == []


def test_only_root_installs_into_the_system():
    done = run("setpriv", "--reuid=65534", "--clear-groups", REPOSITORY / "conf/install.sh",
               build_dir(), env={"PATH": os.environ["PATH"]})
    if "Permission denied" in done.stderr:
        pytest.skip("the source is where nobody may enter")
    assert done.returncode == 1 and done.stderr.startswith("install: needs root")


def broken_links(folder: Path) -> list[str]:
    """Broken links between documents, and to headings in them."""
    def headings(file: Path) -> set[str]:
        titles = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
        return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}

    broken = []
    for file in sorted(folder.rglob("*.md")):
        for link in re.findall(r"\]\(([^)\s]+)\)", file.read_text()):
            if link.startswith("http"):
                continue
            name, _, heading = link.partition("#")
            target = file.parent / name if name else file
            if not target.exists() or (heading and heading not in headings(target)):
                broken.append(f"{file.name}: {link}")
    return broken


def test_the_links_of_the_documents_hold(destdir, tmp_path):
    assert broken_links(destdir / DOCUMENTS) == []
    shutil.copytree(destdir / DOCUMENTS, tmp_path, dirs_exist_ok=True)
    (tmp_path / "docs/ipsec.md").write_text("# IPsec\n")  # a heading and a page are missing
    (tmp_path / "docs/testing.md").unlink()
    broken = broken_links(tmp_path)
    assert "operation.md: ipsec.md#a-peer-that-is-not-encsync" in broken
    assert "README.md: docs/testing.md" in broken


# ---- programs --------------------------------------------------------------------------------


def test_the_programs_run_from_there(destdir):
    for program in ("sbin/encsyncd", "bin/encsync"):
        done = run(destdir / "usr/local" / program, "--version")
        assert done.returncode == 0 and re.search(r"\b0\.\d+\.\d+$", done.stdout.strip())


def test_the_example_configuration_is_good(destdir):
    encsync = destdir / "usr/local/bin/encsync"
    example = destdir / "etc/encsync/encsync.conf.example"
    done = run(encsync, "check", example)
    assert (done.returncode, done.stderr) == (0, "")


def test_and_a_changed_one_is_not(destdir, tmp_path):
    text = (destdir / "etc/encsync/encsync.conf.example").read_text()
    broken = tmp_path / "encsync.conf"
    broken.write_text(text.replace("syncdev=", "syncdve="))
    done = run(destdir / "usr/local/bin/encsync", "check", broken)
    assert done.returncode == 1 and "syncdev" in done.stderr


@pytest.mark.skipif(not shutil.which("keepalived"), reason="no keepalived")
def test_the_keepalived_example_is_good(destdir, tmp_path):
    """As far as keepalived can check it without the programs and interfaces that it names."""
    def complaints(text: str) -> list[str]:
        text = text.replace("/usr/local/bin/encsync", "/bin/true")
        text = re.sub(r"interface eth\d", "interface lo", text)
        (tmp_path / "keepalived.conf").write_text(text)
        done = run("keepalived", "--config-test", "--use-file", tmp_path / "keepalived.conf",
                   "--log-console")
        # VRRP does not run on lo, which is used here instead of any interface.
        return [line for line in (done.stdout + done.stderr).splitlines()
                if line.strip() and "(inside)" not in line and "(outside)" not in line
                and " lo " not in line]

    text = (destdir / DOCUMENTS / "keepalived.conf").read_text()
    assert complaints(text) == []
    assert complaints(text.replace("vrrp_notify_fifo ", "vrrp_notify_fife ")) != []


# ---- systemd ---------------------------------------------------------------------------------


def verify(destdir: Path) -> str:
    """systemd's errors about the unit, with the installation at its final place."""
    script = ('mount --bind "$1/usr/local" /usr/local && '
              "systemd-analyze verify --recursive-errors=no encsync.service")
    return run("unshare", "--mount", "sh", "-c", script, "sh", destdir).stderr


def test_the_unit_is_found_and_verified(destdir):
    assert verify(destdir) == ""


def test_and_a_misspelled_one_is_not(destdir, tmp_path):
    shutil.copytree(destdir, tmp_path, dirs_exist_ok=True)
    unit = tmp_path / "usr/local/lib/systemd/system/encsync.service"
    unit.write_text(unit.read_text().replace("ProtectHome=", "ProtectHouse="))
    assert "ProtectHouse" in verify(tmp_path)


def exposure(unit: Path, limit: int) -> bool:
    return run("systemd-analyze", "security", "--offline=yes", "--no-pager",
               f"--threshold={limit}", unit).returncode == 0


def test_the_unit_is_a_sandbox(unit, tmp_path):
    assert exposure(unit, 38)
    open_one = tmp_path / "encsync.service"
    open_one.write_text("[Service]\nExecStart=/usr/local/sbin/encsyncd\n")
    assert not exposure(open_one, 38)


def test_the_user_is_made(destdir, tmp_path):
    (tmp_path / "etc").mkdir()
    conf = destdir / "usr/local/lib/sysusers.d/encsync.conf"
    done = run("systemd-sysusers", f"--root={tmp_path}", "-", input=conf.read_text())
    assert done.returncode == 0, done.stderr
    fields = (tmp_path / "etc/passwd").read_text().strip().split(":")
    assert fields[0] == "encsync" and fields[2] != "0" and fields[6] == "/usr/sbin/nologin"


# ---- pages -----------------------------------------------------------------------------------


def rendered(page: Path) -> tuple[str, str]:
    """A formatted man page, and troff's warnings."""
    done = run("man", "--warnings", "--encoding=UTF-8", "--local-file", page,
               env={**os.environ, "MANWIDTH": "80"})
    return re.sub(".\b", "", done.stdout), done.stderr  # without overstriking


@pytest.mark.parametrize("page", PAGES)
def test_pages_render_without_a_warning(destdir, page):
    text, warnings = rendered(destdir / MAN / page)
    assert warnings == "" and "NAME" in text


def test_a_bad_page_is_warned_of(tmp_path):
    page = tmp_path / "bad.8"
    page.write_text(".TH BAD 8\n.SH NAME\nbad \\- not good\n.NOSUCHMACRO\n")
    assert "NOSUCHMACRO" in rendered(page)[1]


def documented(text: str, word: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text) is not None


def command_words(encsync: Path, *verbs: str) -> set[str]:
    """The verbs and options in --help, including those of the verbs."""
    words: set[str] = set()
    section = ""
    for line in run(encsync, *verbs, "--help").stdout.splitlines():
        if line and not line[0].isspace():
            section = line
        match = re.match(r"  (\S+)", line)
        if not match or match[1] == "-h,--help":
            continue
        if section == "Subcommands:":
            words |= {" ".join((*verbs, match[1]))} | command_words(encsync, *verbs, match[1])
        elif section == "Options:":
            words.add(match[1].split(":")[0])
    return words


def test_the_page_of_the_command_knows_every_verb_and_option(destdir):
    text, _ = rendered(destdir / MAN / "man8/encsync.8")
    text = " ".join(text.split())
    words = command_words(destdir / "usr/local/bin/encsync")
    assert {"status", "keys init", "--ready", "--keydir"} <= words
    assert [word for word in sorted(words) if not documented(text, word)] == []
    assert not documented(text, "--no-such-option")


def test_the_page_of_the_daemon_knows_every_option(destdir):
    text, _ = rendered(destdir / MAN / "man8/encsyncd.8")
    words = command_words(destdir / "usr/local/sbin/encsyncd")
    assert {"--config", "--foreground"} <= words
    assert [word for word in sorted(words) if not documented(text, word)] == []


def test_the_page_of_the_command_knows_the_words_of_a_filter(destdir):
    """As listed at the top of control/filter.hpp."""
    header = (REPOSITORY / "src/control/filter.hpp").read_text().split("#pragma once")[0]
    lines = re.findall(r"^//     (\S.*?)(?:   .*)?$", header, re.MULTILINE)
    words = {word for line in lines for word in re.findall(r"\b[a-z][a-z0-9]+\b", line)}
    words -= {"auto", "filter", "control", "parse", "if", "matches", "flow", "owner", "not"}
    assert {"tcp", "sport", "snat", "creatorid", "zone"} <= words
    text, _ = rendered(destdir / MAN / "man8/encsync.8")
    assert [word for word in sorted(words) if not documented(text, word)] == []
