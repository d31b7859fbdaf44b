// SPDX-License-Identifier: ISC
// The words that ifconfig(8) takes for a pfsync(4) interface, on OpenBSD and FreeBSD. The readers
// of hostname.if, rc.conf and ifconfig's lines share their table; config.xml has the same settings
// under other names.
#pragma once

#include "import/shell_words.hpp"

#include <span>

namespace encsync::importer {

// Takes over each of the words, or notes it.
void read_pfsync_words(Migration& found, unsigned line, std::span<const Word> words);

// inet and inet6 with what follows them, on another interface: an address of this machine. Other
// words are the interface's own affair, except that a CARP address becomes a note.
void read_interface_words(Migration& found, unsigned line, const std::string& interface,
                          std::span<const Word> words);

// The interface that pf syncs over: it is encsync's own enc interface, or the path to the peer.
void set_syncdev(Migration& found, unsigned line, const std::string& interface);
// A pf peer's address, whose scope, if it has one, is the name of a BSD interface.
void set_syncpeer(Migration& found, unsigned line, const std::string& address);
// FreeBSD's "version": the size of its states.
void set_version(Migration& found, unsigned line, const std::string& version);
// That pf syncs, with all that has been found: notes that no peer is named.
void finish_pfsync(Migration& found);

} // namespace encsync::importer
