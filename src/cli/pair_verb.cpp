// SPDX-License-Identifier: ISC
#include "cli/changed_keys.hpp"
#include "cli/key_place.hpp"
#include "cli/pair_meeting.hpp"
#include "cli/verbs.hpp"
#include "keys/store.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <fmt/format.h>
#include <termios.h>
#include <unistd.h>

namespace encsync::cli {

namespace {

constexpr std::size_t kMaxAnswer = 100; // characters

// The conn with that name, or without one the only one that can be meant.
Result<config::Conn> find_conn(const config::Config& config, const std::string& name) {
    std::vector<std::string> names;
    const config::Conn* only = nullptr;
    for (const config::Conn& conn : config.conns) {
        if (!name.empty() && conn.name == name) {
            if (conn.by_trusted_key())
                return conn;
            return Error{fmt::format("conn {}: its peer has no key to be trusted, but {}", name,
                                     conn.is_cable() ? "is on a cable"
                                                     : "a preshared key or a certificate")};
        }
        if (conn.by_trusted_key()) {
            names.push_back(conn.name);
            only = &conn;
        }
    }
    if (names.empty())
        return Error{"the configuration has no conn with a peer whose key could be trusted"};
    if (!name.empty())
        return Error{
            fmt::format("there is no conn {}; there are: {}", name, fmt::join(names, ", "))};
    if (names.size() > 1)
        return Error{fmt::format("which conn? One of: {}", fmt::join(names, ", "))};
    return *only;
}

std::string fingerprints(const std::vector<keys::PublicKey>& keys) {
    std::string out;
    for (const keys::PublicKey& key : keys)
        out += (out.empty() ? "" : ", ") + keys::fingerprint(key.key);
    return out;
}

class Verb {
  public:
    Verb(const Options& options, const PairOptions& words, config::Conn conn, keys::Store store)
        : options_(options), words_(words), conn_(std::move(conn)), store_(std::move(store)),
          // With --json the questions are not part of what is printed.
          out_(options.json ? stderr : stdout), there_(config::to_string(conn_.right)) {}

    Result<int> run() {
        auto identities = store_.identities();
        if (!identities)
            return identities.error();
        auto own = store_.export_public();
        if (!own)
            return own.error();
        auto connection = find(*own);
        if (!connection)
            return connection.error();
        auto& pairing = connection->pairing();
        show(pairing, {identities->begin(), identities->end()});
        if (auto ok = compare(*connection, identities->front()); !ok) {
            // Whatever it is, the other end is told, and nothing it has said is worth anything.
            pairing.decline();
            (void)connection->send();
            return Error{fmt::format("not paired with {} ({}), and nothing is trusted: {}",
                                     conn_.rightid, there_, ok.error().text)};
        }
        const keys::PublicFile& file = *pairing.agreed();
        auto fresh = words_.new_identity ? store_.trust(file.keys) : store_.trust(file);
        if (!fresh)
            return Error{fmt::format("{0} trusts this node now, but not the other way round: {1}. "
                                     "Mend that, and pair again",
                                     conn_.rightid, fresh.error().text)};
        return report_trusted(
            options_, file.keys, *fresh,
            {{"peer", conn_.rightid}, {"address", there_}, {"code", *pairing.code()}});
    }

  private:
    Result<PairingConnection> find(const std::string& own) {
        fmt::print(out_, "Waiting for {} ({}, TCP port {}): run encsync pair there, too.\n",
                   conn_.rightid, there_, words_.port);
        std::fflush(out_);
        const auto may_trust = [this](const keys::PublicFile& file) {
            return store_.may_trust(file, words_.new_identity);
        };
        const auto notice = [this](const std::string& text) {
            if (std::exchange(last_notice_, text) == text)
                return;
            fmt::print(stderr, "encsync: {}; still waiting\n", text);
        };
        auto met = meet({.left = conn_.left,
                         .right = conn_.right,
                         .port = words_.port,
                         .until = PairingClock::now() + words_.timeout,
                         .make =
                             [&](keys::Pairing::Role role) {
                                 return keys::Pairing(role, own, conn_.rightid, may_trust);
                             },
                         .notice = notice});
        if (!met)
            return Error{fmt::format("not paired with {} ({}): {}", conn_.rightid, there_,
                                     met.error().text)};
        return met;
    }

    void show(const keys::Pairing& pairing, const std::vector<keys::PublicKey>& own) const {
        fmt::print(out_, "{} at {}: {}\n", conn_.rightid, there_,
                   fingerprints(pairing.peer()->keys));
        fmt::print(out_, "this node, {}: {}\n", own.front().name, fingerprints(own));
        fmt::print(out_, "\n    {}\n\n", *pairing.code());
        fmt::print(out_, "Is the same code shown on {}? (yes/no) ", conn_.rightid);
        std::fflush(out_);
    }

    // Until both people have said yes.
    Result<void> compare(PairingConnection& connection, const keys::Identity& identity) const {
        const auto until = PairingClock::now() + words_.timeout;
        auto answer = ask(connection, until);
        if (::isatty(STDIN_FILENO) == 0)
            fmt::print(out_, "\n"); // nobody has typed one
        if (!answer)
            return answer.error();
        if (*answer != "yes")
            return Error{fmt::format("the answer here was not yes. If the codes differ, something "
                                     "else than {} has answered: somebody on the network, or a "
                                     "second encsync pair",
                                     conn_.rightid)};
        connection.pairing().confirm(identity);
        if (auto ok = connection.send(); !ok)
            return ok;
        if (!connection.pairing().agreed())
            fmt::print(out_, "Waiting for the answer at {}.\n", conn_.rightid);
        std::fflush(out_);
        while (!connection.pairing().agreed()) {
            bool heard = false, none = false;
            if (!wait_readable(until, connection.socket(), -1, heard, none))
                return too_late();
            if (auto ok = connection.receive(); !ok)
                return ok;
        }
        return {};
    }

    // One line of stdin, without the blanks around it; empty: its end. An error: meanwhile the
    // other end has ended the pairing, or it has become too late.
    Result<std::string> ask(PairingConnection& connection, PairingClock::time_point until) const {
        // What was typed before the code was shown is no answer to it.
        if (::isatty(STDIN_FILENO) != 0)
            ::tcflush(STDIN_FILENO, TCIFLUSH);
        std::string line;
        while (line.size() < kMaxAnswer) {
            bool answered = false, heard = false;
            if (!wait_readable(until, STDIN_FILENO, connection.socket(), answered, heard))
                return too_late();
            if (heard)
                if (auto ok = connection.receive(); !ok)
                    return ok.error();
            if (!answered)
                continue;
            char byte = 0;
            const ssize_t got = ::read(STDIN_FILENO, &byte, 1);
            if (got < 0 && errno == EINTR)
                continue;
            if (got <= 0)
                return std::string();
            if (byte == '\n')
                break;
            if (std::string_view(" \t\r").find(byte) == std::string_view::npos)
                line += byte;
        }
        return line;
    }

    Error too_late() const {
        return Error{fmt::format("there was no answer within {} s", words_.timeout.count())};
    }

    const Options& options_;
    const PairOptions& words_;
    const config::Conn conn_;
    keys::Store store_;
    std::FILE* out_;
    const std::string there_;
    std::string last_notice_;
};

} // namespace

int pair(const Options& options, const PairOptions& words) {
    const config::Loaded loaded = config::load(options.config);
    if (!loaded.config)
        return fail(fmt::format("{}: has errors; 'encsync check' lists them", options.config));
    auto conn = find_conn(*loaded.config, words.conn);
    if (!conn)
        return fail(conn.error().text);
    auto store = open_or_make_store(options, loaded.config->setup, options.json ? stderr : stdout);
    if (!store)
        return fail(store.error().text);
    auto done = Verb(options, words, std::move(*conn), std::move(*store)).run();
    return done ? *done : fail(done.error().text);
}

} // namespace encsync::cli
