// SPDX-License-Identifier: ISC
// What each verb of `encsync` does. Each returns the exit status: 0 if it did what it is for,
// else 1, with the reason on stderr in one line, with --json as {"error": reason}.
#pragma once

#include "keys/x509.hpp"
#include "util/result.hpp"

#include <boost/json.hpp>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace encsync::cli {

struct Options {
    std::string config = "/etc/encsync/encsync.conf";
    bool config_given = false; // one that is named must exist
    std::string run_dir = "/run/encsync";
    std::string keydir;          // empty: the configuration's
    std::string passphrase_file; // of the key store; empty: as of key_place.hpp
    bool json = false;
};

// Prints the reason, as JSON if requested. Returns 1.
int fail(const std::string& text);
void errors_as_json(bool json);
int print_json(const boost::json::value& value);

// ---- of the daemon (daemon_verbs.cpp) --------------------------------------------------------

// encsyncd's answer to a request of control/request.hpp.
Result<boost::json::value> ask(const Options& options, const boost::json::object& request);

int status(const Options& options);
// Prints nothing if the node is ready.
int status_ready(const Options& options);
// As text. format: of the control socket's request; empty: its default.
int metrics(const Options& options, const std::string& format);
int peers(const Options& options);
int sas(const Options& options);
int states(const Options& options, const std::string& filter);
// by: "source", "destination" or "service".
int talkers(const Options& options, const std::string& by); // top_verb.cpp
int role(const Options& options);
int bulk(const Options& options, const std::string& peer);
int flush(const Options& options, const std::string& peer);
int policy_show(const Options& options);
int policy_verify(const Options& options);
// What would become of the packets in a capture file (policy_verb.cpp), by the configuration alone.
// 1 if anything would be refused. peer: who sent them; empty: as their sources say.
int policy_test(const Options& options, const std::string& file, const std::string& peer);
int rekey(const Options& options, const std::string& peer);
int rotate_ppk(const Options& options, const std::string& peer);
// The identity, these and the SAs. With --json an object a line for each step. 1 if one has failed.
int rotate_all(const Options& options);
int reload(const Options& options);

// ---- that go on asking the daemon (wait_verb.cpp) ---------------------------------------------

// Until this node may be promoted; says on stderr what it waits for. 1 if it may not in time; none:
// as long as it takes.
int wait_ready(const Options& options, std::optional<std::chrono::seconds> timeout);
// On a terminal, how the bulk updates go that were just asked for, until all are here. before: the
// status before that; peer: empty: all. 1 if one does not come.
int follow_bulk(const Options& options, const boost::json::value& before, const std::string& peer);
// The live view on a terminal, until its user leaves (top_verb.cpp).
int top(const Options& options);
// The status each second, until it is interrupted; with --json one line each time.
int watch_status(const Options& options);

// ---- of the role (role_verbs.cpp) ------------------------------------------------------------

constexpr int kOvertaken = 3; // exit status: a later request for a role takes precedence

int set_role(const Options& options, const std::string& role);
// Which group or instance of keepalived to follow, and where.
struct VrrpSource {
    std::string group, instance; // one of them
    std::string fifo;
};
int keepalived(const Options& options, const VrrpSource& source);

// ---- of the configuration (check_verb.cpp) ---------------------------------------------------

// live: also whether this machine can run it (live_check.hpp).
int check(const Options& options, const std::string& file, bool live);

// ---- from other programs (import_verb.cpp) ---------------------------------------------------

struct ImportSource {
    std::string file;   // "-": stdin
    std::string format; // empty: found out
    std::vector<std::string> lefts;
};
// The encsync.conf on stdout, on stderr what it does not have; with --json both on stdout.
int import_config(const Options& options, const ImportSource& source);

// ---- for other systems (export_verb.cpp) -----------------------------------------------------

struct ExportTarget {
    std::string system; // of exporter::system_names()
    std::string peer;
    std::string interface; // the peer's, towards us; empty: not known
};
// What the peer needs on stdout, on stderr what it does not have; with --json both on stdout.
int export_config(const Options& options, const ExportTarget& target);

// ---- of packets (decode_verb.cpp) ------------------------------------------------------------

struct DecodeSource {
    std::string file = "-"; // a capture file, or packets in hexadecimal; "-": stdin
    std::string interface;  // if not empty: live, from there
    bool hex = false;
};
// 1 also if any packet was bad.
int decode(const Options& options, const DecodeSource& source);
// The daemon's own traffic, as its syncdev shows it; into a capture file if `write` names one.
int monitor(const Options& options, const std::string& write);

// ---- of the machine (doctor.cpp) -------------------------------------------------------------

// Everything that may keep encsync from working here, and what to do. 1: something does.
int doctor(const Options& options);
// An archive for a bug report, without a secret in it (report_verb.cpp). file: a new one; empty: in
// this folder, by the time.
int report(const Options& options, const std::string& file);

// ---- of the key store (keys_verbs.cpp) -------------------------------------------------------

int keys_init(const Options& options, const std::string& name);
// words: also in hex and as words, to be read aloud.
int keys_show(const Options& options, bool words);
// pem: the key that signs alone, for a certificate or a peer that is not encsync.
int keys_export(const Options& options, bool pem);
// "-": stdin. name: of a peer that is not encsync, whose key is PEM; else empty. new_identity: also
// if another key of that name is trusted, which has not signed this one.
int keys_trust(const Options& options, const std::string& file, const std::string& name,
               bool new_identity);
int keys_list(const Options& options, bool words);
int keys_rotate_identity(const Options& options);
// Begins such a rotation, or goes on with one, waits until all other peers accept the next
// identity, and retires the older one.
int keys_rotate_without(const Options& options, const std::vector<std::string>& without,
                        std::chrono::seconds patience);
// The older of a peer's two keys, or without a peer, of this node's two identities. Refused while
// that would cut off a peer, unless it is done without that one, or forced.
int keys_retire(const Options& options, const std::string& peer,
                const std::vector<std::string>& without, bool force);
int keys_forget(const Options& options, const std::string& name);
// Drops the keys of that name for good.
int keys_revoke(const Options& options, const std::string& name);
// This node's keys and who accepts them, the peers' and how they are used, and what is revoked.
int keys_status(const Options& options);
// verify: prints no events. noted: the hash of one that must be among them; or empty. 1 also if the
// log and the keys differ.
int keys_log(const Options& options, bool verify, const std::string& noted);

// ---- of post-quantum preshared keys (ppk_verbs.cpp) -------------------------------------------

// Makes one and writes it to a file, which must be new.
int keys_ppk_make(const Options& options, const std::string& peer, const std::string& file);
int keys_ppk_import(const Options& options, const std::string& file);
int keys_ppk_forget(const Options& options, const std::string& peer);

// ---- of IKE's preshared keys (psk_verbs.cpp) --------------------------------------------------

// replace: the one before goes at once, else when the peer has shown that it has this one.
int keys_psk_import(const Options& options, const std::string& peer, const std::string& file,
                    bool replace);
// Makes one, likewise, and writes it to a file, which must be new.
int keys_psk_make(const Options& options, const std::string& peer, const std::string& file,
                  bool replace);
int keys_psk_retire(const Options& options, const std::string& peer);
int keys_psk_forget(const Options& options, const std::string& peer);

// ---- of certificates (cert_verbs.cpp) ---------------------------------------------------------

// replace: as above.
int keys_cert_import(const Options& options, const std::string& peer, const std::string& file,
                     keys::CertificateUse use, bool replace);
// next: not the older one of two, but the other.
int keys_cert_retire(const Options& options, const std::string& peer, keys::CertificateUse use,
                     bool next);
int keys_cert_forget(const Options& options, const std::string& peer, keys::CertificateUse use);

// ---- pairing (pair_verb.cpp) -----------------------------------------------------------------

struct PairOptions {
    std::string conn;               // empty: the only one
    std::uint16_t port = 4540;      // TCP
    std::chrono::seconds timeout{}; // to find the other node, and again for the answers
    bool new_identity = false;      // as in keys_trust
};
// Two people compare a code, which is asked for on stdin; then the peer's keys are trusted.
int pair(const Options& options, const PairOptions& words);

// ---- the first hour (setup_verb.cpp) ----------------------------------------------------------

struct SetupOptions {
    // Values of the options of the same names, and the peer's name. Empty: it is asked on the
    // terminal.
    std::string node, peer, right, left, role;
    bool pair = false; // without asking
    PairOptions meeting;
};
// Writes a configuration, which must not be there, makes this node's identity, says what this
// machine lacks, and pairs.
int setup(const Options& options, const SetupOptions& given);

// ---- of the key store as a whole (store_verbs.cpp) -------------------------------------------

// Files with passphrases; empty: asked for on the terminal.
int keys_seal(const Options& options, bool change, const std::string& new_passphrase_file);
int keys_unseal(const Options& options);
int keys_backup(const Options& options, const std::string& file,
                const std::string& backup_passphrase_file);
// seal: the restored store, too.
int keys_restore(const Options& options, const std::string& file,
                 const std::string& backup_passphrase_file, bool seal);

} // namespace encsync::cli
