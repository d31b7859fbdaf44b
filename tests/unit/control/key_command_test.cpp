// SPDX-License-Identifier: ISC
// encsync keys.
#include "../keys/certificates.hpp"
#include "command.hpp"
#include "keys/files.hpp"
#include "util/fd.hpp"

#include <array>
#include <csignal>
#include <fmt/format.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>

namespace encsync {
namespace {

// A command whose standard input, output and controlling terminal is a terminal of ours.
class Terminal {
  public:
    explicit Terminal(std::vector<std::string> words) : ours_(::posix_openpt(O_RDWR | O_NOCTTY)) {
        EXPECT_EQ(::grantpt(ours_.get()) + ::unlockpt(ours_.get()), 0);
        std::array<char, 64> name{};
        EXPECT_EQ(::ptsname_r(ours_.get(), name.data(), name.size()), 0);
        theirs_.reset(::open(name.data(), O_RDWR | O_NOCTTY | O_CLOEXEC));
        child_ = ::fork();
        if (child_ != 0)
            return;
        std::vector<char*> argv;
        argv.reserve(words.size() + 1);
        for (auto& word : words)
            argv.push_back(word.data());
        argv.push_back(nullptr);
        ::setsid();
        ::ioctl(theirs_.get(), TIOCSCTTY, 0);
        for (const int fd : {0, 1, 2})
            ::dup2(theirs_.get(), fd);
        ::execv(argv[0], argv.data());
        ::_exit(127);
    }

    bool echoes() const {
        termios now{};
        return ::tcgetattr(theirs_.get(), &now) == 0 && (now.c_lflag & ECHO) != 0;
    }
    // Once it does not echo; what is typed before that is flushed, as by a careful program.
    void type(const std::string& text) {
        prompts_++;
        EXPECT_TRUE(wait_until([&] {
            read_more();
            return !echoes() && std::ranges::count(shown_, ':') >= prompts_;
        })) << shown_;
        EXPECT_EQ(::write(ours_.get(), text.data(), text.size()),
                  static_cast<ssize_t>(text.size()));
    }
    void send(int signal) const { ::kill(child_, signal); }
    // The exit status, or the negative number of the signal.
    int end() {
        int status = 0;
        EXPECT_TRUE(wait_until([&] {
            read_more();
            return ::waitpid(child_, &status, WNOHANG) == child_;
        })) << shown_;
        read_more();
        return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    }
    const std::string& shown() const { return shown_; }

  private:
    template<class Condition>
    static bool wait_until(Condition condition) {
        for (int n = 0; n < 3000; n++) {
            if (condition())
                return true;
            std::this_thread::sleep_for(std::chrono::milliseconds(5));
        }
        return false;
    }
    void read_more() {
        pollfd ready{ours_.get(), POLLIN, 0};
        std::array<char, 512> buffer;
        while (::poll(&ready, 1, 0) == 1 && (ready.revents & POLLIN) != 0) {
            const ssize_t got = ::read(ours_.get(), buffer.data(), buffer.size());
            if (got <= 0)
                return;
            shown_.append(buffer.data(), static_cast<std::size_t>(got));
        }
    }

    Fd ours_, theirs_;
    pid_t child_ = -1;
    std::string shown_;
    long prompts_ = 0;
};

TEST_F(Command, MakesShowsAndTrustsKeys) {
    const auto none = run({"keys", "show"});
    EXPECT_EQ(none.status, 1);
    EXPECT_EQ(none.err, "encsync: " + (dir_ / "keys").string() +
                            ": no keys here; 'encsync keys init' makes them\n");
    const auto made = run({"keys", "init"});
    EXPECT_EQ(made.status, 0) << made.err;
    EXPECT_TRUE(made.out.starts_with("mickey (")) << made.out;
    EXPECT_EQ(run({"keys", "init"}).status, 1); // never overwrites
    ASSERT_EQ(as_minnie({"keys", "init"}).status, 0);

    const auto exported = as_minnie({"keys", "export"});
    ASSERT_EQ(exported.status, 0);
    // What the other side will print; not part of the file.
    EXPECT_TRUE(exported.err.starts_with("minnie  SHA256:")) << exported.err;
    write(dir_ / "minnie.pub", exported.out);
    const auto trusted = run({"keys", "trust", dir_ / "minnie.pub"});
    EXPECT_EQ(trusted.status, 0) << trusted.err;
    const auto list = run_json({"keys", "list"});
    ASSERT_EQ(list.as_array().size(), 1u);
    const std::string print(list.at(0).at("fingerprint").as_string());
    EXPECT_EQ(list.at(0).at("name"), "minnie");
    EXPECT_EQ(trusted.out, "trusting minnie  " + print + "\nencsyncd is not running in " +
                               dir_.string() + "; it reads the keys when it starts\n");
    EXPECT_NE(as_minnie({"keys", "show"}).out.find(print), std::string::npos);
    // Two people on the telephone: both screens show the same lines.
    const auto words_in = [&](const std::string& text) {
        const auto at = text.find(print + "\n  hex   ");
        return at == text.npos ? "no words in " + text : text.substr(at);
    };
    const std::string here = words_in(run({"keys", "list", "--words"}).out);
    EXPECT_EQ(lines(here), 7) << here;
    EXPECT_EQ(here, words_in(as_minnie({"keys", "show", "--words"}).out));
    EXPECT_EQ(run({"keys", "list"}).out.find("hex"), std::string::npos);
    ASSERT_EQ(list.at(0).at("words").as_array().size(), 24u);
    EXPECT_NE(here.find("  1     " + std::string(list.at(0).at("words").at(0).as_string()) + " "),
              std::string::npos);
    EXPECT_EQ(list.at(0).at("hex").as_string().size(), 64u);

    write(dir_ / "bad.pub", exported.out.substr(0, 60));
    const auto bad = run({"keys", "trust", dir_ / "bad.pub"});
    EXPECT_EQ(bad.status, 1);
    EXPECT_EQ(bad.err, "encsync: " + (dir_ / "bad.pub").string() + ": line 3: truncated\n");
    EXPECT_EQ(run({"keys", "trust", dir_ / "none.pub"}).status, 1);

    EXPECT_EQ(run({"keys", "forget", "minnie"}).status, 0);
    EXPECT_EQ(run({"keys", "forget", "minnie"}).status, 1);
    EXPECT_EQ(run_json({"keys", "list"}), json::array());
}

TEST_F(Command, SealsItsKeysBacksThemUpAndRestoresThem) {
    const auto keydir = dir_ / "keys";
    ASSERT_EQ(run({"keys", "init"}).status, 0);
    const auto shown = run_json({"keys", "show"}).as_object();
    const auto fails = [&](const std::vector<std::string>& words, const std::string& reason) {
        const auto outcome = run(words);
        EXPECT_EQ(outcome.status, 1) << reason;
        EXPECT_NE(outcome.err.find(reason), std::string::npos) << outcome.err;
    };
    write_private("passphrase", "correct horse battery\n");
    write_private("short", "short\n");
    write_private("wrong", "battery horse correct\n");
    write_private("for-backup", "another passphrase\n");
    fails({"keys", "seal"}, "standard input is no terminal: --passphrase-file names a file with");
    fails({"keys", "seal", "--passphrase-file", dir_ / "short"}, "has 12 bytes at least");
    fails({"keys", "seal", "--passphrase-file", dir_ / "none"}, "No such file");
    fails({"keys", "seal", "--change"}, "the store is not sealed");
    fails({"keys", "unseal"}, "is not sealed");
    const auto sealed = run({"keys", "seal", "--passphrase-file", dir_ / "passphrase"});
    EXPECT_EQ(sealed.status, 0) << sealed.err;
    EXPECT_NE(sealed.out.find("keypassphrase= or the systemd credential encsync.passphrase"),
              std::string::npos);
    fails({"keys", "seal", "--passphrase-file", dir_ / "passphrase"}, "is sealed already");

    fails({"keys", "show"}, "the store is sealed, and no passphrase was given");
    fails({"keys", "rotate", "--what", "identity"}, "no passphrase was given");
    fails({"keys", "show", "--passphrase-file", dir_ / "wrong"}, "the passphrase is wrong");
    EXPECT_EQ(run({"keys", "list"}).status, 0);
    EXPECT_EQ(run({"keys", "log"}).status, 0);
    // By the configuration, as encsyncd does it.
    write(dir_ / "encsync.conf", "config setup\n\tnode=mickey\n\tkeydir=" + keydir.string() +
                                     "\n\tkeypassphrase=" + (dir_ / "passphrase").string() + "\n");
    auto again = run_json({"keys", "show"}).as_object();
    EXPECT_EQ(again.at("secrets"), "sealed");
    EXPECT_EQ(again.at("identities").at(0).at("fingerprint"),
              shown.at("identities").at(0).at("fingerprint"));
    EXPECT_NE(run({"keys", "show"}).out.find(", sealed\n"), std::string::npos);

    const auto file = dir_ / "mickey.backup";
    fails({"keys", "backup", file}, "--backup-passphrase-file names a file with");
    fails({"keys", "backup", file, "--backup-passphrase-file", dir_ / "short"}, "has 12 bytes");
    EXPECT_FALSE(fs::exists(file));
    ASSERT_EQ(run({"keys", "backup", file, "--backup-passphrase-file", dir_ / "for-backup"}).status,
              0);
    fails({"keys", "backup", file, "--backup-passphrase-file", dir_ / "for-backup"},
          "is there already, and is not overwritten");
    EXPECT_EQ(read_file(file).find(std::string(shown.at("creatorid").as_string())),
              std::string::npos);
    fails({"keys", "restore", file, "--backup-passphrase-file", dir_ / "for-backup"},
          "there is something here already");

    // The machine is lost: docs/keys.md.
    fs::remove_all(keydir);
    fails({"keys", "restore", file, "--backup-passphrase-file", dir_ / "wrong"},
          "the passphrase is wrong, or somebody has changed this file");
    EXPECT_FALSE(fs::exists(keydir));
    const auto restored =
        run({"keys", "restore", "--seal", file, "--backup-passphrase-file", dir_ / "for-backup"});
    EXPECT_EQ(restored.status, 0) << restored.err;
    again = run_json({"keys", "show"}).as_object();
    EXPECT_EQ(again.at("secrets"), "sealed");
    EXPECT_EQ(again.at("creatorid"), shown.at("creatorid"));
    EXPECT_EQ(again.at("identities").at(0).at("fingerprint"),
              shown.at("identities").at(0).at("fingerprint"));
    EXPECT_EQ(run({"keys", "log", "--verify"}).status, 0);

    EXPECT_EQ(
        run({"keys", "seal", "--change", "--new-passphrase-file", dir_ / "for-backup"}).status, 0);
    fails({"keys", "show"}, "the passphrase is wrong");
    EXPECT_EQ(run({"keys", "unseal", "--passphrase-file", dir_ / "for-backup"}).status, 0);
    EXPECT_EQ(run_json({"keys", "show"}).at("secrets"), "plain");
}

TEST_F(Command, AsksForAPassphraseWithoutEcho) {
    ASSERT_EQ(run({"keys", "init"}).status, 0);
    {
        Terminal terminal({ENCSYNC_COMMAND, "--config", dir_ / "encsync.conf", "keys", "seal"});
        terminal.type("correct horse battery\n");
        terminal.type("correct horse batterY\n");
        EXPECT_EQ(terminal.end(), 1);
        EXPECT_NE(terminal.shown().find("the two are not the same"), std::string::npos)
            << terminal.shown();
    }
    Terminal terminal({ENCSYNC_COMMAND, "--config", dir_ / "encsync.conf", "keys", "seal"});
    terminal.type("correct horse battery\n");
    terminal.type("correct horse battery\n");
    EXPECT_EQ(terminal.end(), 0);
    EXPECT_TRUE(terminal.echoes());
    EXPECT_EQ(terminal.shown().find("horse"), std::string::npos) << terminal.shown();
    EXPECT_EQ(terminal.shown().find("New passphrase of "), 0u) << terminal.shown();
    Terminal show({ENCSYNC_COMMAND, "--config", dir_ / "encsync.conf", "keys", "show"});
    show.type("correct horse battery\n");
    EXPECT_EQ(show.end(), 0);
    EXPECT_NE(show.shown().find("mickey ("), std::string::npos) << show.shown();
}

TEST_F(Command, AnInterruptedPassphraseLeavesTheTerminalAsItWas) {
    ASSERT_EQ(run({"keys", "init"}).status, 0);
    for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
        Terminal terminal({ENCSYNC_COMMAND, "--config", dir_ / "encsync.conf", "keys", "seal"});
        terminal.type("correct");
        terminal.send(signal);
        EXPECT_EQ(terminal.end(), -signal);
        EXPECT_TRUE(terminal.echoes()) << signal;
    }
    EXPECT_EQ(run_json({"keys", "show"}).at("secrets"), "plain");
}

TEST_F(Command, SaysIfAPresharedKeyWillNotBeUsed) {
    ASSERT_EQ(run({"keys", "init"}).status, 0);
    ASSERT_EQ(as_minnie({"keys", "init"}).status, 0);
    write(dir_ / "minnie.pub", as_minnie({"keys", "export"}).out);
    ASSERT_EQ(run({"keys", "trust", dir_ / "minnie.pub"}).status, 0);
    const auto made = [&](const char* ppk) {
        const fs::path file = dir_ / "carried";
        fs::remove(file);
        write(dir_ / "encsync.conf",
              "config setup\n\tnode=mickey\n\tkeydir=" + (dir_ / "keys").string() +
                  "\nconn peer\n\trightid=minnie\n\tleft=192.0.2.1\n\tright=192.0.2.2\n" + ppk);
        const auto outcome = run({"keys", "ppk", "make", "minnie", file});
        EXPECT_EQ(outcome.status, 0) << outcome.err;
        EXPECT_EQ(run({"keys", "ppk", "forget", "minnie"}).status, 0);
        return outcome.err;
    };
    EXPECT_NE(made("\tppk=no\n").find("conn peer has ppk=no, so it is not used"),
              std::string::npos);
    for (const char* some : {"", "\tppk=optional\n", "\tppk=required\n"})
        EXPECT_EQ(made(some).find("ppk=no"), std::string::npos);
}

// What is read is as private as other secrets.
TEST_F(Command, TakesAPresharedKeyFromAPrivateFileOnly) {
    ASSERT_EQ(run({"keys", "init"}).status, 0);
    ASSERT_EQ(as_minnie({"keys", "init"}).status, 0);
    write(dir_ / "minnie.pub", as_minnie({"keys", "export"}).out);
    write(dir_ / "mickey.pub", run({"keys", "export"}).out);
    ASSERT_EQ(run({"keys", "trust", dir_ / "minnie.pub"}).status, 0);
    ASSERT_EQ(as_minnie({"keys", "trust", dir_ / "mickey.pub"}).status, 0);
    const fs::path file = dir_ / "carried";
    ASSERT_EQ(run({"keys", "ppk", "make", "minnie", file}).status, 0);
    const std::string text = read_file(file);
    const auto refused = [&](const std::string& content, fs::perms others) {
        write(file, content);
        fs::permissions(file, fs::perms::owner_read | fs::perms::owner_write | others);
        const auto outcome = as_minnie({"keys", "ppk", "import", file});
        EXPECT_EQ(outcome.status, 1) << outcome.out;
        return outcome.err;
    };
    const auto says = [](const std::string& all, const char* what) {
        EXPECT_NE(all.find(what), std::string::npos) << all;
    };
    says(refused(text, fs::perms::group_read), "mode 0640 lets others in");
    says(refused(text + std::string(4000, ' '), fs::perms::none), "too long");
    says(refused(text + "\n", fs::perms::none), "carried: ");
    says(refused(text.substr(0, text.size() - 1), fs::perms::none), "carried: ");
    write_private("carried", text);
    EXPECT_EQ(as_minnie({"keys", "ppk", "import", file}).status, 0);
}

TEST_F(Command, KeepsAPresharedKeyOfIke) {
    ASSERT_EQ(run({"keys", "init"}).status, 0);
    const fs::path file = dir_ / "carried";
    const auto refused = [&](const std::vector<std::string>& words, const std::string& reason) {
        const auto outcome = run(words);
        EXPECT_EQ(outcome.status, 1) << reason;
        EXPECT_NE(outcome.err.find(reason), std::string::npos) << outcome.err;
    };
    const std::vector<std::string> make{"keys", "psk", "make", "minnie", file};
    const auto made = run(make);
    ASSERT_EQ(made.status, 0) << made.err;
    EXPECT_NE(made.err.find("no conn has rightid=minnie, so it is not used"), std::string::npos);
    const std::string key = read_file(file);
    EXPECT_EQ(key.size(), 65u);
    EXPECT_EQ(fs::status(file).permissions(), fs::perms::owner_read | fs::perms::owner_write);
    EXPECT_NE(made.out.find("'encsync keys psk import mickey " + file.string() + "'"),
              std::string::npos);
    EXPECT_NE(made.out.find("        secret = \"the content of " + file.string() + "\"\n"),
              std::string::npos);
    EXPECT_EQ(made.out.find(key.substr(0, 64)), std::string::npos);
    refused(make, "is there already, and is not overwritten");
    refused({"keys", "psk", "make", "no/name", dir_ / "other"}, "the name has a character");
    EXPECT_FALSE(fs::exists(dir_ / "other"));

    // It is shown, but for what it is.
    const auto status = run_json({"keys", "status"});
    ASSERT_EQ(status.at("psks").as_array().size(), 1u);
    EXPECT_EQ(status.at("psks").at(0).at("name"), "minnie");
    const auto shown = run({"keys", "status"}).out;
    EXPECT_NE(shown.find("minnie  preshared key"), std::string::npos) << shown;
    EXPECT_NE(shown.find("for authby=psk"), std::string::npos) << shown;

    // The other end takes it, from the file or from standard input, which is empty here.
    ASSERT_EQ(as_minnie({"keys", "init"}).status, 0);
    ASSERT_EQ(as_minnie({"keys", "psk", "import", "mickey", file}).status, 0);
    EXPECT_EQ(read_file(dir_ / "keys/psk.minnie").find("peer: minnie"),
              read_file(dir_ / "minnie-keys/psk.mickey").find("peer: mickey"));
    refused({"keys", "psk", "import", "minnie", "-"},
            "standard input: a preshared key has 16 bytes at least");
    fs::permissions(file, fs::perms::group_read, fs::perm_options::add);
    refused({"keys", "psk", "import", "minnie", file}, "mode 0640 lets others in");
    write_private("carried", "short\n");
    refused({"keys", "psk", "import", "minnie", file}, "a preshared key has 16 bytes at least");

    for (const auto& [more, says] :
         {std::pair{"", "conn peer has not authby=psk, so it is not used"},
          std::pair{"\tauthby=psk\n\tsecretfile=/k\n", "conn peer has a secretfile, so it is not"},
          std::pair{"\tauthby=psk\n", ""}}) {
        write(dir_ / "encsync.conf",
              "config setup\n\tnode=mickey\n\tkeydir=" + (dir_ / "keys").string() +
                  "\nconn peer\n\trightid=minnie\n\tleft=192.0.2.1\n\tright=192.0.2.2\n" + more);
        write_private("carried", "another one that is long enough\n");
        const auto outcome = run({"keys", "psk", "import", "minnie", file});
        EXPECT_EQ(outcome.status, 0) << outcome.err;
        if (std::string_view(says).empty())
            EXPECT_EQ(outcome.err, "");
        else
            EXPECT_NE(outcome.err.find(says), std::string::npos) << outcome.err;
    }

    // The next one is beside it, until either is dropped.
    const auto both = run_json({"keys", "status"}).at("psks").as_array();
    ASSERT_EQ(both.size(), 2u);
    EXPECT_FALSE(both[0].at("next").as_bool());
    EXPECT_TRUE(both[1].at("next").as_bool());
    EXPECT_NE(run({"keys", "status"}).out.find("for authby=psk, next"), std::string::npos);
    fs::remove(file);
    const auto next = run(make);
    EXPECT_NE(next.out.find("beside the secret that is there"), std::string::npos) << next.out;
    EXPECT_NE(next.out.find("    ike-mickey-next {\n"), std::string::npos) << next.out;
    EXPECT_NE(next.out.find("The one before goes on working"), std::string::npos) << next.out;
    EXPECT_EQ(run({"keys", "psk", "retire", "minnie"}).status, 0);
    refused({"keys", "psk", "retire", "minnie"}, "there is only one preshared key with minnie");
    fs::remove(file);
    const auto only = run({"keys", "psk", "make", "--replace", "minnie", file});
    EXPECT_NE(only.out.find("    ike-mickey {\n"), std::string::npos) << only.out;
    EXPECT_EQ(run_json({"keys", "status"}).at("psks").as_array().size(), 1u);

    EXPECT_EQ(run({"keys", "psk", "forget", "minnie"}).status, 0);
    refused({"keys", "psk", "forget", "minnie"}, "there is no preshared key with 'minnie'");
    EXPECT_EQ(run_json({"keys", "status"}).at("psks"), json::array());
    std::vector<std::string> events;
    const auto log = run_json({"keys", "log"});
    for (const auto& entry : log.at("entries").as_array())
        events.emplace_back(entry.at("event").as_string());
    EXPECT_EQ(events, (std::vector<std::string>{"init", "psk", "psk-next", "psk-next", "psk", "psk",
                                                "psk-gone"}));
}

TEST_F(Command, KeepsCertificates) {
    ASSERT_EQ(run({"keys", "init", "--name", "mickey"}).status, 0);
    const auto own = keys::from_pem(run({"keys", "export", "--pem"}).out);
    ASSERT_TRUE(own);
    const keys::UnixTime now = keys::unix_now();
    const auto certificate = [&](const char* file, const keys::Wanted& wanted) {
        const auto der = keys::make_certificate(wanted);
        write(dir_ / file, {reinterpret_cast<const char*>(der.data()), der.size()});
        return (dir_ / file).string();
    };
    const std::string good = certificate("good", {now, now + 9999, &*own, false, "mickey"}),
                      other = certificate("other", {now, now + 9999, &*own}),
                      strange = certificate("strange", {now, now + 9999}),
                      ca = certificate("ca", {now, now + 9999, nullptr, true});
    const auto refused = [&](const std::vector<std::string>& words, const std::string& why) {
        const auto outcome = run(words);
        EXPECT_EQ(outcome.status, 1);
        EXPECT_NE(outcome.err.find(why), std::string::npos) << outcome.err;
    };
    refused({"keys", "cert", "import", "minnie", strange},
            strange + ": is not for this node's key; certify the one");
    refused({"keys", "cert", "import", "--authority", "minnie", good},
            good + ": is not the certificate of an authority");
    refused({"keys", "cert", "import", "minnie", dir_ / "none"}, "No such file");
    refused({"keys", "cert", "forget", "minnie"}, "there is no certificate for 'minnie'");
    const std::string file = dir_ / "encsync.conf",
                      conn = "config setup\n\tnode=mickey\n\tkeydir=" + (dir_ / "keys").string() +
                             "\n\nconn peer\n\tleft=192.0.2.1\n"
                             "\tright=192.0.2.2\n\trightid=minnie\n\twire=openbsd\n";
    for (const auto& [options, from, says] :
         {std::tuple{"", good, "conn peer does not have leftcert=store, so it is not used\n"},
          std::tuple{"\tleftcert=store\n", good, ""},
          std::tuple{"\tleftcert=store\n", other,
                     "the leftid of conn peer, mickey, is not among its alternative names, so the "
                     "peer will refuse it\n"}}) {
        write(file, conn + options);
        const auto outcome = run({"keys", "cert", "import", "--replace", "minnie", from});
        EXPECT_EQ(outcome.status, 0) << outcome.err;
        EXPECT_EQ(outcome.err, says);
    }
    const auto next = run({"keys", "cert", "import", "minnie", good});
    EXPECT_NE(next.out.find("keeps the one before until minnie has accepted this one"),
              next.out.npos)
        << next.out;
    const auto again = run({"keys", "cert", "import", "minnie", other});
    EXPECT_NE(again.out.find("it was there before"), again.out.npos) << again.out;
    EXPECT_EQ(run({"keys", "cert", "import", "--authority", "minnie", ca}).status, 0);
    const auto status = run_json({"keys", "status"}).at("certificates").as_array();
    ASSERT_EQ(status.size(), 3u);
    EXPECT_EQ(status[1].at("next"), true);
    EXPECT_EQ(status[2].at("use"), "authority");
    const std::string shown = run({"keys", "status"}).out;
    EXPECT_NE(shown.find("our certificate for it, next  until "), shown.npos) << shown;
    EXPECT_NE(shown.find("its authority "), shown.npos) << shown;
    EXPECT_EQ(run({"keys", "cert", "retire", "--next", "minnie"}).status, 0);
    EXPECT_EQ(run_json({"keys", "status"}).at("certificates").at(0).at("fingerprint"),
              status[0].at("fingerprint"));
    refused({"keys", "cert", "retire", "minnie"}, "there is only one certificate for minnie");
    refused({"keys", "cert", "retire", "--authority", "minnie"}, "there is only one authority");
    EXPECT_EQ(run({"keys", "cert", "forget", "--authority", "minnie"}).status, 0);
    EXPECT_EQ(run_json({"keys", "status"}).at("certificates").as_array().size(), 1u);
}

TEST_F(Command, TellsARotationFromAnotherIdentity) {
    ASSERT_EQ(run({"keys", "init"}).status, 0);
    ASSERT_EQ(as_minnie({"keys", "init"}).status, 0);
    write(dir_ / "minnie.pub", as_minnie({"keys", "export"}).out);
    ASSERT_EQ(run({"keys", "trust", dir_ / "minnie.pub"}).status, 0);
    const std::string anew = dir_ / "anew";
    ASSERT_EQ(run({"keys", "--keydir", anew, "init", "--name", "minnie"}).status, 0);
    write(dir_ / "anew.pub", run({"keys", "--keydir", anew, "export"}).out);
    const auto refused = run({"keys", "trust", dir_ / "anew.pub"});
    EXPECT_EQ(refused.status, 1);
    EXPECT_NE(refused.err.find("is not signed by that key"), std::string::npos) << refused.err;
    EXPECT_EQ(run_json({"keys", "list"}).as_array().size(), 1u);
    EXPECT_EQ(run({"keys", "trust", "--new-identity", dir_ / "anew.pub"}).status, 0);
    EXPECT_EQ(run_json({"keys", "list"}).as_array().size(), 2u);
}

TEST_F(Command, ShowsAndChecksTheLogOfKeys) {
    ASSERT_EQ(run({"keys", "init"}).status, 0);
    ASSERT_EQ(as_minnie({"keys", "init"}).status, 0);
    write(dir_ / "minnie.pub", as_minnie({"keys", "export"}).out);
    ASSERT_EQ(run({"keys", "trust", dir_ / "minnie.pub"}).status, 0);
    const auto log = run_json({"keys", "log"});
    ASSERT_EQ(log.at("entries").as_array().size(), 2u);
    EXPECT_EQ(log.at("entries").at(1).at("event"), "trust");
    EXPECT_EQ(log.at("entries").at(1).at("name"), "minnie");
    EXPECT_EQ(log.at("differences"), json::array());
    const std::string last(log.at("last").as_string());
    const auto shown = run({"keys", "log"});
    EXPECT_EQ(shown.status, 0) << shown.err;
    EXPECT_TRUE(shown.out.starts_with("TIME ")) << shown.out;
    const auto verified = run({"keys", "log", "--verify", last});
    EXPECT_EQ(verified.status, 0) << verified.err;
    EXPECT_EQ(verified.out, "2 events, the last one's hash is " + last +
                                "; the keys that are there are those of the log\n");
    EXPECT_EQ(run({"keys", "log", "--verify", "AAAA"}).status, 1);

    // A key that came by another way, and a log that was changed.
    std::filesystem::remove(dir_ / "keys" / "trusted");
    const auto differs = run({"keys", "log", "--verify"});
    EXPECT_EQ(differs.status, 1);
    EXPECT_NE(differs.err.find(" of minnie is not there, though it is in the log"),
              std::string::npos);
    EXPECT_EQ(run({"keys", "log", "--json"}).status, 1);
    write(dir_ / "keys" / "log", "encsync key log 1\nsomething else\n");
    EXPECT_EQ(run({"keys", "log"}).err, "encsync: " + (dir_ / "keys" / "log").string() +
                                            ": line 2: expected a time, an event, a "
                                            "name, a fingerprint and a hash\n");
}

TEST_F(Command, RotatesAnIdentityOnBothSides) {
    ASSERT_EQ(run({"keys", "init"}).status, 0);
    ASSERT_EQ(as_minnie({"keys", "init"}).status, 0);
    const auto first = run_json({"keys", "show"}).at("identities").at(0).at("fingerprint");
    EXPECT_EQ(run({"keys", "retire"}).status, 1);
    EXPECT_EQ(run({"keys", "rotate", "--what", "identity", "--peer", "minnie"}).status, 1);

    start({{"reload-keys", nullptr}});
    const auto rotated = run({"keys", "rotate", "--what", "identity"});
    EXPECT_EQ(rotated.status, 0) << rotated.err;
    EXPECT_NE(rotated.out.find("encsyncd has read the keys anew"), std::string::npos);
    const auto both = run_json({"keys", "show"}).at("identities");
    ASSERT_EQ(both.as_array().size(), 2u);
    EXPECT_EQ(both.at(0).at("fingerprint"), first);
    EXPECT_EQ(both.at(0).at("signs"), true);
    EXPECT_EQ(run({"keys", "rotate", "--what", "identity"}).status, 1);

    write(dir_ / "mickey.pub", run({"keys", "export"}).out);
    EXPECT_EQ(as_minnie({"keys", "trust", dir_ / "mickey.pub"}).status, 0);
    stop();

    const auto peers_trust = [&](json::array minnie, json::array goofy) {
        start({{"reload-keys", nullptr},
               {"peers", json::array{{{"name", "minnie"}, {"accepts", std::move(minnie)}},
                                     {{"name", "goofy"}, {"accepts", std::move(goofy)}}}}});
    };
    const json::value next = both.at(1).at("fingerprint");
    EXPECT_NE(run({"keys", "retire"}).err.find("encsyncd does not run"), std::string::npos);
    peers_trust({first, next}, {first});
    const auto early = run({"keys", "retire"});
    EXPECT_EQ(early.status, 1);
    EXPECT_EQ(early.err,
              "encsync: goofy has not shown that the new key is trusted there: take it to the peer "
              "(encsync keys export) and run encsync keys trust; --force retires the old key all "
              "the same\n");
    EXPECT_EQ(run_json({"keys", "show"}).at("identities").as_array().size(), 2u);
    stop();
    peers_trust({first, next}, {next});
    EXPECT_EQ(run({"keys", "retire"}).status, 0);
    EXPECT_EQ(as_minnie({"keys", "retire", "--peer", "mickey"}).status, 0);
    EXPECT_EQ(as_minnie({"keys", "retire", "--peer", "mickey"}).status, 1);
    const auto left = as_minnie({"keys", "list"}).out;
    EXPECT_NE(left.find(std::string(both.at(1).at("fingerprint").as_string())), std::string::npos);
    EXPECT_EQ(left.find(std::string(first.as_string())), std::string::npos);
    stop();
    // Each change once, and none that was refused.
    EXPECT_EQ(std::ranges::count(asked_, R"({"command":"reload-keys"})"), 4);
    // A peer that never confirms the new key.
    ASSERT_EQ(run({"keys", "rotate", "--what", "identity"}).status, 0);
    EXPECT_EQ(run({"keys", "retire"}).status, 1);
    EXPECT_EQ(run({"keys", "retire", "--force"}).status, 0);
}

TEST_F(Command, RotatesWithoutAPeerThatWillNotComeBack) {
    ASSERT_EQ(run({"keys", "init"}).status, 0);
    const auto fingerprints = [&] {
        json::array all;
        const json::value shown = run_json({"keys", "show"});
        for (const auto& identity : shown.at("identities").as_array())
            all.push_back(identity.at("fingerprint"));
        return all;
    };
    const json::array first = fingerprints();
    const auto peers_accept = [&](json::array minnie) {
        start({{"reload-keys", nullptr},
               {"peers", json::array{{{"name", "minnie"}, {"accepts", std::move(minnie)}},
                                     {{"name", "goofy"}, {"accepts", first}}}}});
    };
    const auto rotate = [&](const std::string& without) {
        return run({"keys", "rotate", "--what", "identity", "--without", without});
    };
    EXPECT_NE(rotate("goofy").err.find("encsyncd does not run"), std::string::npos);
    peers_accept(first);
    EXPECT_EQ(rotate("nobody").err, "encsync: no peer 'nobody'\n");
    EXPECT_EQ(run({"keys", "rotate", "--without", "goofy"}).status, 2);
    EXPECT_EQ(run({"keys", "retire", "--peer", "minnie", "--without", "goofy"}).status, 2);
    EXPECT_EQ(fingerprints(), first);
    ASSERT_EQ(run({"keys", "rotate", "--what", "identity"}).status, 0);
    const json::array both = fingerprints();
    ASSERT_EQ(both.size(), 2U);
    // It is for one peer, not for all that have not shown that they trust it.
    const auto refused = run({"keys", "retire", "--without", "goofy"});
    EXPECT_EQ(refused.status, 1);
    EXPECT_NE(refused.err.find("minnie has not shown"), std::string::npos);
    EXPECT_EQ(fingerprints(), both);
    stop();
    peers_accept(both);
    EXPECT_EQ(run({"keys", "retire"}).status, 1);
    const auto done = rotate("goofy"); // goes on with what was begun
    EXPECT_EQ(done.status, 0) << done.err;
    EXPECT_EQ(fingerprints(), json::array{both.at(1)});
    stop();
}

TEST_F(Command, RotatesAll) {
    ASSERT_EQ(run({"keys", "init"}).status, 0);
    const std::vector<std::string> all{"keys", "rotate", "--what", "all"};
    const auto without = run(all);
    EXPECT_EQ(without.status, 1);
    EXPECT_NE(without.err.find("encsyncd is not running"), std::string::npos) << without.err;
    EXPECT_EQ(run_json({"keys", "show"}).at("identities").as_array().size(), 1u);
    EXPECT_EQ(run({"keys", "rotate", "--what", "all", "--peer", "minnie"}).status, 1);

    const json::object minnie{{"peers", json::array{"minnie"}}};
    const auto serve = [&](json::object peer) {
        start({{"reload-keys", nullptr},
               {"peers", json::array{std::move(peer)}},
               {"rotate-ppk", minnie},
               {"rekey", minnie}});
    };
    serve({{"name", "minnie"}, {"ppk", json::object{{"used", ""}}}});
    const auto done = run(all);
    EXPECT_EQ(done.status, 0) << done.err;
    EXPECT_EQ(run_json({"keys", "show"}).at("identities").as_array().size(), 2u);
    std::size_t at = 0;
    for (const char* says :
         {"identity:\n", "encsyncd has read the keys anew\n",
          "post-quantum preshared keys:\nminnie: making the next preshared key\n",
          "SAs:\nminnie: negotiating new SAs\n"}) {
        at = done.out.find(says, at);
        ASSERT_NE(at, std::string::npos) << says << "\n" << done.out;
    }
    stop();
    const auto asked = [&](const char* command) {
        return std::ranges::count(asked_, fmt::format(R"({{"command":"{}"}})", command));
    };
    EXPECT_EQ(asked("reload-keys"), 1);
    EXPECT_EQ(asked("rotate-ppk"), 1);
    EXPECT_EQ(asked("rekey"), 1);

    // An identity that is being rotated is an error, and the rest is done all the same.
    serve({{"name", "minnie"}});
    const auto again = run(all);
    EXPECT_EQ(again.status, 1);
    EXPECT_NE(again.err.find("there are two identities already"), std::string::npos) << again.err;
    EXPECT_NE(again.out.find("no conn uses any\nSAs:\nminnie: negotiating"), std::string::npos)
        << again.out;
    ASSERT_EQ(run({"keys", "retire", "--force"}).status, 0);
    const auto as_json = run({"keys", "rotate", "--what", "all", "--json"});
    EXPECT_EQ(as_json.status, 0) << as_json.err;
    EXPECT_EQ(lines(as_json.out), 3) << as_json.out;
    stop();
    EXPECT_EQ(asked("rotate-ppk"), 1);
    EXPECT_EQ(asked("rekey"), 3);
}

TEST_F(Command, SaysIfTheDaemonDoesNotTakeTheKeys) {
    ASSERT_EQ(run({"keys", "init"}).status, 0);
    start({}); // without reload-keys
    const auto outcome = run({"keys", "rotate", "--what", "identity"});
    EXPECT_EQ(outcome.status, 1);
    EXPECT_EQ(outcome.err, "encsync: the keys have changed, but encsyncd did not take them: this "
                           "encsyncd does not offer 'reload-keys'\n");
}

TEST_F(Command, FindsTheKeyDirectory) {
    const std::string elsewhere = dir_ / "elsewhere";
    EXPECT_EQ(run({"keys", "init", "--keydir", elsewhere, "--name", "goofy"}).status, 0);
    EXPECT_TRUE(run({"keys", "--keydir", elsewhere, "show"}).out.starts_with("goofy ("));
    EXPECT_EQ(run({"keys", "show"}).status, 1); // the configuration has another name
    write(dir_ / "bad.conf", "nonsense\n");
    const auto bad = run({"keys", "show", "--config", dir_ / "bad.conf"});
    EXPECT_EQ(bad.status, 1);
    EXPECT_EQ(bad.err, "encsync: " + (dir_ / "bad.conf").string() +
                           ": has errors; 'encsync check' lists them, and with --keydir it is not "
                           "needed\n");
    EXPECT_EQ(run({"keys", "show", "--config", dir_ / "none.conf"}).status, 1);
    EXPECT_EQ(run({"keys", "show", "--config", dir_ / "bad.conf", "--keydir", elsewhere}).status,
              0);
    EXPECT_EQ(run({"keys", "init", "--keydir", dir_ / "new", "--name", "no/name"}).status, 1);
}

} // namespace
} // namespace encsync
