// SPDX-License-Identifier: ISC
// The command: which verbs and options there are. What they do is in verbs.hpp; encsync(8).
#include "cli/completion.hpp"
#include "cli/verbs.hpp"
#include "config/text.hpp"
#include "export/export.hpp"
#include "import/import.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <fmt/format.h>
#include <functional>

namespace {

using encsync::cli::Options;
using encsync::keys::CertificateUse;
namespace cli = encsync::cli;

constexpr int kUsage = 2;                     // exit status of an invalid command line
constexpr std::chrono::seconds kPatience{60}; // for peers to accept a key

struct Words {
    std::vector<std::string> filter, without;
    std::string file, name, peer, role, write, noted, format, shell, what = "sa", by = "source";
    std::string new_passphrase, backup_passphrase;
    cli::DecodeSource source;
    cli::VrrpSource vrrp;
    cli::ImportSource import_source;
    cli::ExportTarget export_target;
    cli::PairOptions pair;
    cli::SetupOptions setup;
    std::uint32_t timeout = 300;
    std::optional<std::chrono::seconds> patience;
    bool ready = false, watch = false, authority = false, next = false, pem = false, live = false,
         force = false, replace = false, verify = false, new_identity = false, change = false,
         seal = false, words = false;
};

// The verb that was given is the one that sets `run`.
using Run = std::function<int()>;

CLI::App* verb(CLI::App& parent, const char* name, const char* about, Run& run, Run action) {
    auto* app = parent.add_subcommand(name, about);
    app->callback([&run, action = std::move(action)] { run = action; });
    return app;
}

// Two options that contradict each other: CLI11's own `excludes` does not see those of the parent.
int usage(const std::string& text) {
    cli::fail(text);
    return kUsage;
}

void add_daemon_verbs(CLI::App& app, Options& o, Words& w, Run& run) {
    auto* status = verb(app, "status", "Show the state of this node", run, [&] {
        if (w.watch)
            return cli::watch_status(o);
        return w.ready ? cli::status_ready(o) : cli::status(o);
    });
    auto* ready = status->add_flag("--ready", w.ready,
                                   "Print nothing; exit 0 only if this node may be promoted");
    status->add_flag("--watch", w.watch, "Show it again each second")->excludes(ready);
    auto* wait = verb(app, "wait", "Wait until this node may be promoted", run,
                      [&] { return cli::wait_ready(o, w.patience); });
    wait->add_flag("--ready", w.ready, "What to wait for; there is nothing else")->required();
    wait->add_option_function<std::uint32_t>(
            "--timeout", [&w](std::uint32_t n) { w.patience = std::chrono::seconds(n); },
            "Seconds; default: as long as it takes")
        ->check(CLI::Range(0, 86400));
    verb(app, "top", "Watch this node, its peers and who has the most states", run, [&] {
        return o.json ? usage("top: --json is not for it: see status --watch") : cli::top(o);
    });
    auto* metrics = verb(app, "metrics", "Print the metrics of this node", run, [&] {
        return o.json ? usage("metrics: --json is not for them: see --format")
                      : cli::metrics(o, w.format);
    });
    metrics->add_option("--format", w.format, "Default: openmetrics")
        ->check(CLI::IsMember({"openmetrics", "prometheus"}));
    verb(app, "peers", "Show the peers in detail", run, [&] { return cli::peers(o); });
    verb(app, "sas", "Show the security associations", run, [&] { return cli::sas(o); });
    verb(app, "states", "Show the states, or those that match a filter", run, [&] {
        return cli::states(o, fmt::format("{}", fmt::join(w.filter, " ")));
    })->add_option("FILTER", w.filter, "For example: tcp port 443 not 10.0.0.0/8");
    verb(app, "talkers", "Show who has the most states", run, [&] { return cli::talkers(o, w.by); })
        ->add_option("--by", w.by, "Default: source")
        ->check(CLI::IsMember({"source", "destination", "service"}));
    verb(app, "role", "Show or set the role of this node", run,
         [&] { return w.role.empty() ? cli::role(o) : cli::set_role(o, w.role); })
        ->add_option("ROLE", w.role)
        ->check(CLI::IsMember({"active", "standby", "auto"}));
    auto* keepalived =
        verb(app, "keepalived", "Pass on the roles that keepalived writes into a FIFO", run, [&] {
            return w.vrrp.group.empty() && w.vrrp.instance.empty()
                       ? usage("keepalived: --group or --instance is needed")
                       : cli::keepalived(o, w.vrrp);
        });
    auto* group = keepalived->add_option("--group", w.vrrp.group,
                                         "The vrrp_sync_group whose state is the role");
    keepalived
        ->add_option("--instance", w.vrrp.instance, "The vrrp_instance whose state is the role")
        ->excludes(group);
    keepalived->add_option("FIFO", w.vrrp.fifo, "The vrrp_notify_fifo")->required();
    verb(app, "bulk", "Request all states from a peer, or from all peers", run, [&] {
        return cli::bulk(o, w.peer);
    })->add_option("PEER", w.peer);
    verb(app, "flush", "Remove all states that a peer has brought here", run,
         [&] { return cli::flush(o, w.peer); })
        ->add_option("PEER", w.peer)
        ->required();
    verb(app, "reload", "Apply the current configuration and keys", run,
         [&] { return cli::reload(o); });
    auto* policy = app.add_subcommand("policy", "What may come in as pfsync, and from whom");
    policy->require_subcommand(1);
    verb(*policy, "show",
         "Show what each peer may send and what was refused, and the nftables rules", run,
         [&] { return cli::policy_show(o); });
    verb(*policy, "verify", "Check whether the rules are in place", run,
         [&] { return cli::policy_verify(o); });
    auto* test = verb(*policy, "test", "Say what would become of the packets in a capture file",
                      run, [&] { return cli::policy_test(o, w.file, w.peer); });
    test->add_option("--peer", w.peer, "The conn that they came by; default: as their sources say");
    test->add_option("FILE", w.file, "pcap or pcapng; - is standard input")->required();
    auto* check = verb(app, "check", "Check a configuration and show its errors", run,
                       [&] { return cli::check(o, w.file, w.live); });
    check->add_option("FILE", w.file, "Default: the --config file");
    check->add_flag("--live", w.live,
                    "Also check whether this machine can run it: addresses, keys");
    verb(app, "doctor", "Look at all that may keep encsync from working here", run,
         [&] { return cli::doctor(o); });
    verb(app, "report", "Write an archive for a bug report, without a secret in it", run, [&] {
        return cli::report(o, w.file);
    })->add_option("FILE", w.file, "A new file; default: one in this folder");
}

void add_import_verb(CLI::App& app, Options& o, Words& w, Run& run) {
    auto* command = verb(app, "import", "Write a configuration from one of conntrackd or pf", run,
                         [&] { return cli::import_config(o, w.import_source); });
    command->add_option("--format", w.import_source.format, "Default: found out from the file")
        ->check(CLI::IsMember(encsync::importer::format_names()));
    command
        ->add_option("--left", w.import_source.lefts,
                     "An address of this firewall, for a file that does not have it")
        ->option_text("ADDRESS")
        ->expected(1)
        ->take_all();
    command->add_option("FILE", w.import_source.file, "- is standard input")->required();
}

void add_export_verb(CLI::App& app, Options& o, Words& w, Run& run) {
    auto* command = verb(app, "export", "Print what a peer that is not encsync needs", run,
                         [&] { return cli::export_config(o, w.export_target); });
    command->add_option("SYSTEM", w.export_target.system)
        ->required()
        ->check(CLI::IsMember(encsync::exporter::system_names()));
    command->add_option("PEER", w.export_target.peer, "The name of its conn")->required();
    command
        ->add_option("--interface", w.export_target.interface,
                     "The peer's interface at the other end")
        ->option_text("IFACE");
}

void add_packet_verbs(CLI::App& app, Options& o, Words& w, Run& run) {
    auto* decode = verb(app, "decode", "Decode pfsync packets of a capture or a live interface",
                        run, [&] { return cli::decode(o, w.source); });
    auto* hex =
        decode->add_flag("--hex", w.source.hex,
                         "Read hexadecimal digits, one packet per line, from its pfsync header on");
    auto* interface = decode->add_option("-i", w.source.interface, "Listen on this interface")
                          ->option_text("IFACE");
    auto* file = decode->add_option("FILE", w.source.file, "pcap or pcapng; - is standard input");
    interface->excludes(hex)->excludes(file);
    auto* monitor =
        verb(app, "monitor", "Show the running daemon's own traffic in clear", run, [&] {
            return o.json && !w.write.empty() ? usage("--write excludes --json")
                                              : cli::monitor(o, w.write);
        });
    monitor->add_option("--write", w.write, "Write a capture file instead; - is standard output");
}

void add_store_verbs(CLI::App& keys, Options& o, Words& w, Run& run) {
    keys.add_option("--passphrase-file", o.passphrase_file,
                    "The passphrase of sealed keys; default: keypassphrase= of the configuration, "
                    "or the terminal")
        ->option_text("FILE");
    auto* seal = verb(keys, "seal", "Protect the secret keys with a passphrase", run,
                      [&] { return cli::keys_seal(o, w.change, w.new_passphrase); });
    auto* change = seal->add_flag("--change", w.change, "Only change the passphrase");
    seal->add_option("--new-passphrase-file", w.new_passphrase, "Default: the terminal")
        ->option_text("FILE")
        ->needs(change);
    verb(keys, "unseal", "Store the secret keys without a passphrase again", run,
         [&] { return cli::keys_unseal(o); });
    auto* backup = verb(keys, "backup", "Write all of the keys into one file, with a passphrase",
                        run, [&] { return cli::keys_backup(o, w.file, w.backup_passphrase); });
    auto* restore =
        verb(keys, "restore", "Restore the keys from such a file, where there are none", run,
             [&] { return cli::keys_restore(o, w.file, w.backup_passphrase, w.seal); });
    restore->add_flag("--seal", w.seal, "Seal them, with another passphrase than the file's");
    for (auto* each : {backup, restore}) {
        each->add_option("FILE", w.file)->required();
        each->add_option("--backup-passphrase-file", w.backup_passphrase, "Default: the terminal")
            ->option_text("FILE");
    }
}

void add_ppk_verbs(CLI::App& keys, Options& o, Words& w, Run& run) {
    auto* ppk =
        keys.add_subcommand("ppk", "Carry a post-quantum preshared key by hand, or drop it");
    ppk->require_subcommand(1);
    auto* make = verb(*ppk, "make", "Make one with a peer, and write it into a file to be carried",
                      run, [&] { return cli::keys_ppk_make(o, w.peer, w.file); });
    make->add_option("PEER", w.peer)->required();
    make->add_option("FILE", w.file, "It must not be there yet")->required();
    verb(*ppk, "import", "Take the one in a file that was carried here", run,
         [&] { return cli::keys_ppk_import(o, w.file); })
        ->add_option("FILE", w.file)
        ->required();
    verb(*ppk, "forget", "Erase all with a peer", run,
         [&] { return cli::keys_ppk_forget(o, w.peer); })
        ->add_option("PEER", w.peer)
        ->required();
}

void add_psk_verbs(CLI::App& keys, Options& o, Words& w, Run& run) {
    auto* psk = keys.add_subcommand("psk", "The preshared keys of peers with authby=psk");
    psk->require_subcommand(1);
    auto* import = verb(*psk, "import", "Store the one with a peer", run,
                        [&] { return cli::keys_psk_import(o, w.peer, w.file, w.replace); });
    auto* make = verb(*psk, "make", "Make one with a peer, and write it into a file for that", run,
                      [&] { return cli::keys_psk_make(o, w.peer, w.file, w.replace); });
    auto* retire = verb(*psk, "retire", "Drop the older one of two with a peer", run,
                        [&] { return cli::keys_psk_retire(o, w.peer); });
    auto* forget = verb(*psk, "forget", "Erase all with a peer", run,
                        [&] { return cli::keys_psk_forget(o, w.peer); });
    for (auto* each : {import, make})
        each->add_flag("--replace", w.replace, "Drop the one before at once");
    for (auto* each : {import, make, retire, forget})
        each->add_option("PEER", w.peer, "The rightid of its conn")->required();
    import->add_option("FILE", w.file, "- is standard input")->required();
    make->add_option("FILE", w.file, "It must not be there yet")->required();
}

void add_cert_verbs(CLI::App& parent, Options& o, Words& w, Run& run) {
    auto* cert = parent.add_subcommand("cert", "The certificates of conns with leftcert=store or "
                                               "rightca=store");
    cert->require_subcommand(1);
    const auto use = [&w] { return w.authority ? CertificateUse::authority : CertificateUse::own; };
    auto* import = verb(*cert, "import", "Store this node's certificate for a peer", run, [&, use] {
        return cli::keys_cert_import(o, w.peer, w.file, use(), w.replace);
    });
    auto* retire = verb(*cert, "retire", "Drop the older one of two for a peer", run,
                        [&, use] { return cli::keys_cert_retire(o, w.peer, use(), w.next); });
    retire->add_flag("--next", w.next, "Not the older one, but the other");
    auto* forget = verb(*cert, "forget", "Erase all for a peer", run,
                        [&, use] { return cli::keys_cert_forget(o, w.peer, use()); });
    import->add_flag("--replace", w.replace, "Drop the one before at once");
    for (auto* each : {import, retire, forget}) {
        each->add_flag("--authority", w.authority, "That of the authority that certifies the peer");
        each->add_option("PEER", w.peer, "The rightid of its conn")->required();
    }
    import->add_option("FILE", w.file, "PEM or DER")->required();
}

void add_keys_verbs(CLI::App& app, Options& o, Words& w, Run& run) {
    auto* keys = app.add_subcommand("keys", "Manage this node's keys and the keys that it trusts");
    keys->require_subcommand(1);
    keys->add_option("--keydir", o.keydir, "The key directory; default: that of the configuration");
    const auto add = [&](const char* name, const char* about, Run action) {
        return verb(*keys, name, about, run, std::move(action));
    };
    auto* init =
        add("init", "Create this node's identity", [&] { return cli::keys_init(o, w.name); });
    init->add_option("--name", w.name, "Default: node= of the configuration, or the host's name");
    auto* show = add("show", "Show name, fingerprint and age of this node's key",
                     [&] { return cli::keys_show(o, w.words); });
    add("export", "Print the public part, for 'keys trust' on a peer", [&] {
        return o.json && w.pem ? usage("--pem excludes --json") : cli::keys_export(o, w.pem);
    })->add_flag("--pem", w.pem, "As PEM, for peers that are not encsync");
    auto* trust = add("trust", "Trust the public key in a file",
                      [&] { return cli::keys_trust(o, w.file, w.name, w.new_identity); });
    trust->add_option("FILE", w.file, "- is standard input")->required();
    trust->add_option("--name", w.name, "The name of a peer that is not encsync; the file is PEM");
    trust->add_flag("--new-identity", w.new_identity,
                    "Even if a key of that name is trusted that has not signed this one");
    auto* list = add("list", "List the trusted keys", [&] { return cli::keys_list(o, w.words); });
    for (auto* each : {show, list})
        each->add_flag("--words", w.words,
                       "Also show fingerprints in hex and as words, to compare them by telephone");
    auto* rotate =
        add("rotate", "Negotiate new SAs, or make the next preshared key or identity", [&] {
            if (!w.without.empty() && w.what != "identity")
                return usage("keys rotate: --without is for --what identity");
            if (w.what == "sa")
                return cli::rekey(o, w.peer);
            if (w.what == "ppk")
                return cli::rotate_ppk(o, w.peer);
            if (!w.peer.empty())
                return cli::fail("an identity is this node's, not one peer's: leave --peer out");
            if (w.what == "all")
                return cli::rotate_all(o);
            return w.without.empty() ? cli::keys_rotate_identity(o)
                                     : cli::keys_rotate_without(o, w.without, kPatience);
        });
    rotate->add_option("--peer", w.peer, "Default: all");
    rotate->add_option("--what", w.what, "Default: sa")
        ->check(CLI::IsMember({"sa", "ppk", "identity", "all"}));
    rotate->add_option("--without", w.without,
                       "A peer that will not come back: all others have to accept the identity");
    auto* retire =
        add("retire", "Remove the older of two identities, or of a peer's two trusted keys",
            [&] { return cli::keys_retire(o, w.peer, w.without, w.force); });
    auto* of_peer = retire->add_option("--peer", w.peer);
    retire->add_option("--without", w.without, "Not waiting for this peer")->excludes(of_peer);
    retire->add_flag("--force", w.force, "Even if that cuts a peer off");
    add("forget", "Remove the trusted keys of a name", [&] { return cli::keys_forget(o, w.name); })
        ->add_option("NAME", w.name)
        ->required();
    add("revoke", "Never accept the keys of a name again, on any node",
        [&] { return cli::keys_revoke(o, w.name); })
        ->add_option("NAME", w.name)
        ->required();
    add("status", "Show rotations under way, who accepts which key, and what is revoked",
        [&] { return cli::keys_status(o); });
    auto* log = add("log", "Show what has been done with the keys, and check it",
                    [&] { return cli::keys_log(o, w.verify, w.noted); });
    log->add_flag("--verify", w.verify, "Only check it");
    log->add_option("HASH", w.noted, "Of an event; it must still be there");
    add_ppk_verbs(*keys, o, w, run);
    add_psk_verbs(*keys, o, w, run);
    add_cert_verbs(*keys, o, w, run);
    add_store_verbs(*keys, o, w, run);
}

void add_pair_verb(CLI::App& app, Options& o, Words& w, Run& run) {
    auto* pair =
        verb(app, "pair", "Trust a peer's key, and it this node's, by comparing a code", run, [&] {
            w.pair.timeout = std::chrono::seconds(w.timeout);
            return cli::pair(o, w.pair);
        });
    pair->add_option("CONN", w.pair.conn, "Default: the only one whose peer has a key");
    pair->add_option("--port", w.pair.port, "TCP, the same on both nodes")
        ->check(CLI::Range(1, 65535))
        ->capture_default_str();
    pair->add_option("--timeout", w.timeout, "Seconds, for the other node and for the answers")
        ->check(CLI::Range(1, 86400))
        ->capture_default_str();
    pair->add_flag("--new-identity", w.pair.new_identity,
                   "Even if a key of that name is trusted that has not signed this one");
}

void add_setup_verb(CLI::App& app, Options& o, Words& w, Run& run) {
    auto* setup = verb(app, "setup", "Write the configuration, make the key, and pair", run, [&] {
        if (o.json && w.setup.pair)
            return usage("--pair excludes --json");
        w.setup.meeting.timeout = std::chrono::seconds(w.timeout);
        return cli::setup(o, w.setup);
    });
    setup->add_option("--node", w.setup.node, "Name of this node; default: the host's name");
    setup->add_option("--peer", w.setup.peer, "Name of the other one");
    setup->add_option("--right", w.setup.right, "Its address on the network between them");
    setup->add_option("--left", w.setup.left, "Own address there; default: by the route to it");
    setup->add_option("--role", w.setup.role, "Default: auto")
        ->check(CLI::IsMember({"auto", "active", "standby"}));
    setup->add_flag("--pair", w.setup.pair, "Pair without asking whether to");
    setup->add_option("--keydir", o.keydir,
                      "The key directory; default: that of the configuration");
}

void add_completion_verb(CLI::App& app, Words& w, Run& run) {
    verb(app, "completion", "Print the completion of this command for a shell", run,
         [&] {
             const auto shell = w.shell == "zsh" ? cli::Shell::zsh : cli::Shell::bash;
             return std::fputs(cli::completion(app, shell).c_str(), stdout) < 0;
         })
        ->add_option("SHELL", w.shell)
        ->required()
        ->check(CLI::IsMember({"bash", "zsh"}));
}

// The error if the verb is missing or misspelt; empty: another error, which CLI11 describes.
std::string wrong_verb(const CLI::App& app) {
    const CLI::App* group = &app;
    std::string name = "encsync";
    while (!group->get_subcommands().empty()) {
        group = group->get_subcommands().front();
        name += " " + group->get_name();
    }
    std::vector<std::string_view> verbs;
    std::string list;
    for (const CLI::App* verb : group->get_subcommands([](const CLI::App*) { return true; })) {
        verbs.emplace_back(verb->get_name());
        list += (list.empty() ? "" : ", ") + verb->get_name();
    }
    if (verbs.empty())
        return {};
    const auto words = app.remaining(true);
    const auto word = std::ranges::find_if(words, [](const auto& w) { return w[0] != '-'; });
    if (word == words.end())
        return fmt::format("{} what? One of: {}", name, list);
    const auto near = encsync::config::nearest(*word, verbs);
    return fmt::format("there is no '{} {}'; {}", name, *word,
                       near.empty() ? "one of: " + list : encsync::config::did_you_mean(near));
}

} // namespace

int main(int argc, char** argv) try {
    Options options;
    Words words;
    Run run;
    CLI::App app("encsync: control encsyncd and manage its keys", "encsync");
    app.set_version_flag("--version", ENCSYNC_VERSION);
    app.require_subcommand(1);
    app.fallthrough(); // --run-dir and the like may come after the verb
    auto* config = app.add_option("--config", options.config, "The configuration");
    app.add_option("--run-dir", options.run_dir, "The directory with the control socket");
    app.add_flag("--json", options.json, "Print JSON, also for errors: {\"error\": ...}");
    config->capture_default_str();
    add_daemon_verbs(app, options, words, run);
    add_import_verb(app, options, words, run);
    add_export_verb(app, options, words, run);
    add_packet_verbs(app, options, words, run);
    add_setup_verb(app, options, words, run);
    add_pair_verb(app, options, words, run);
    add_keys_verbs(app, options, words, run);
    add_completion_verb(app, words, run);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        if (error.get_exit_code() == 0) // --help, --version
            return app.exit(error);
        // Parsing ended before it was stored.
        cli::errors_as_json(std::find(argv, argv + argc, std::string_view("--json")) !=
                            argv + argc);
        const std::string verb = wrong_verb(app);
        return usage(fmt::format("{}; see encsync --help", verb.empty() ? error.what() : verb));
    }
    cli::errors_as_json(options.json);
    options.config_given = config->count() > 0;
    const int status = run();
    // What could not be written, to a full disk for example, was not reported.
    if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0)
        return cli::fail("cannot write the output");
    return status;
} catch (const std::exception& exception) {
    // No memory, or a bug: this command throws nothing on purpose.
    std::fputs("encsync: ", stderr);
    std::fputs(exception.what(), stderr);
    std::fputs("\n", stderr);
    return 1;
}
