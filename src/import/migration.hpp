// SPDX-License-Identifier: ISC
// What was found in another program's configuration: values that an encsync.conf can have, and a
// note for everything else. Each reader fills one; render.hpp writes it.
//
//     Migration found;
//     found.set_right(7, "192.168.1.101");
//     found.note(8, "mtu 1400", "set mtu= if the path to the peer carries less than 1500 bytes");
//
// It owns its text. Values have been checked by the readers of src/config, so that what is written
// can be read again; the text of notes is printable and one line.
#pragma once

#include "config/values.hpp"
#include "util/result.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace encsync::importer {

struct Note {
    unsigned line = 0; // from 1; 0: the whole file
    std::string what, advice;
};

// What becomes of a statement. Each format's table of keywords says it for each, with the advice
// that a note gives, or for the readers of the table why nothing is needed.
enum class Fate {
    carried,  // it is in the configuration that is written
    noted,    // it is not: a note says what to do instead
    needless, // encsync does the same without a setting, or the setting means nothing to it
};

// An address of the machine that the file was made for.
struct Own {
    std::string interface;
    net::Prefix address; // with the length of its network
};

// What an error of a reader is: "LINE: REASON" after the file's name and a colon; line 0: the file
// as a whole.
Error fault(unsigned line, std::string_view reason);

// The advice where the other program syncs by multicast.
inline constexpr std::string_view kOneAddress =
    "encsync sends to one address, through IPsec: set right= to the other firewall's, and add a "
    "conn for each further one";

inline constexpr std::size_t kMaxNotes = 1000;
inline constexpr std::size_t kMaxRules = 64; // as src/config/nosync.cpp reads them

class Migration {
  public:
    // ---- what is carried; a value that is not usable becomes a note
    // ------------------------------
    void set_node(unsigned line, std::string_view name);
    void set_left(unsigned line, std::string_view address);
    void set_right(unsigned line, std::string_view address);
    void set_maxupd(unsigned line, std::string_view number);
    // Of nosync, in its grammar; a rule that is there already is not added again.
    void add_rule(unsigned line, std::string rule);
    void add_own(std::string on_interface, std::string_view address_and_length);
    void note(unsigned line, std::string_view what, std::string_view advice);

    // Once, when all has been read: finds left among `lefts`, then among the own addresses.
    void finish(const std::vector<config::Address>& lefts);
    // left and right are known, so the configuration can be used as it is.
    bool complete() const { return left && right; }

    std::string node;    // empty: the host's name
    std::string syncdev; // an enc(4) interface; empty: the default
    std::optional<config::Address> left, right;
    bool peer_named = false;   // by an address, whether that is usable or not
    std::string guessed_right; // an address that may be the peer's
    std::string interface;     // that the other program syncs over; empty: not named
    unsigned peer_line = 0;    // where the peer, or the interface to it, is named
    std::optional<unsigned> maxupd;
    bool defer = false;
    std::string wire;                        // a value of the option; empty: the default
    std::vector<std::string> nosync;         // rules
    std::vector<std::string> possible_rules; // rules that only the reader can decide on
    std::vector<Own> own;
    std::vector<Note> notes; // by line, after finish()

  private:
    void choose_left(const std::vector<config::Address>& lefts);
    void check_ends();
    std::size_t dropped_ = 0; // notes beyond kMaxNotes
};

} // namespace encsync::importer
