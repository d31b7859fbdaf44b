// SPDX-License-Identifier: ISC
#include "keys/store.hpp"

#include "keys/lines.hpp"
#include "keys/store_names.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace encsync::keys {

namespace {

Error in_file(const Directory& directory, const char* name, const Error& error) {
    return Error{fmt::format("{}: {}", directory.path_of(name), error.text)};
}

// Returns none if the file does not exist. Otherwise read_text parses it, or there is an error.
template<class T, class Read>
Result<std::optional<T>> read_secret_file(const SecretFiles& secrets, const Directory& directory,
                                          const char* name, Read read_text) {
    auto text = secrets.read(directory, name);
    if (!text)
        return text.error();
    if (!*text)
        return std::optional<T>();
    Result<T> parsed = read_text((*text)->view());
    if (!parsed)
        return in_file(directory, name, parsed.error());
    return std::optional<T>(std::move(*parsed));
}

// Likewise, of a file without secrets; an empty T if it does not exist.
template<class T, class Read>
Result<T> read_text_file(const Directory& directory, const char* name, std::size_t most,
                         Read read_text) {
    const auto text = directory.read_text(name, most);
    if (!text)
        return text.error();
    if (!*text)
        return T();
    Result<T> parsed = read_text(**text);
    if (!parsed)
        return in_file(directory, name, parsed.error());
    return parsed;
}

} // namespace

Result<Store> Store::open(const std::string& directory, std::shared_ptr<Unlock> unlock) {
    if (sodium_init() < 0)
        return Error{"libsodium does not start"};
    auto opened = Directory::open(directory);
    if (!opened)
        return opened.error();
    return Store(std::move(*opened), std::move(unlock));
}

Result<Store> Store::create(const std::string& directory, std::shared_ptr<Unlock> unlock) {
    if (sodium_init() < 0)
        return Error{"libsodium does not start"};
    auto made = Directory::create(directory);
    if (!made)
        return made.error();
    return Store(std::move(*made), std::move(unlock));
}

Result<void> Store::init(const std::string& name, UnixTime now) {
    if (auto ok = check_name(name); !ok)
        return ok;
    auto lock = directory_.lock();
    if (!lock)
        return lock.error();
    for (const char* file : {kIdentity, kNextIdentity}) {
        auto there = directory_.has(file);
        if (!there)
            return there.error();
        if (*there)
            return Error{fmt::format("{}: there is an identity already; 'encsync keys rotate "
                                     "--what identity' makes the next one",
                                     directory_.path_of(file))};
    }
    // A node secret without an identity is left over from an interrupted init.
    auto secret = read_secret_file<SecretSeed>(secrets_, directory_, kNodeSecret,
                                               [](auto t) { return read_node_secret(t); });
    if (!secret)
        return secret.error();
    if (!*secret)
        if (auto ok =
                secrets_.write(directory_, kNodeSecret, write_node_secret(SecretSeed::random()));
            !ok)
            return ok;
    const Identity identity = make_identity(name, now);
    return log_and(now, KeyEvent::init, {identity},
                   [&] { return secrets_.write(directory_, kIdentity, write_secret(identity)); });
}

Result<std::optional<Identity>> Store::read_identity(const char* name) const {
    return read_secret_file<Identity>(secrets_, directory_, name,
                                      [](auto t) { return read_secret(t); });
}

namespace {

// Key is Identity or PublicKey: both files, read by `read`.
template<class Key, class Read>
Result<std::vector<Key>> read_both(const Directory& directory, Read read) {
    // A retire() of another process renames the second over the first. Read in this order, we
    // may see the new key twice, but never none.
    Result<std::optional<Key>> next = read(kNextIdentity);
    if (!next)
        return next.error();
    Result<std::optional<Key>> current = read(kIdentity);
    if (!current)
        return current.error();
    if (!*current)
        return Error{
            fmt::format("{}: no identity here; 'encsync keys init' makes it", directory.path())};
    std::vector<Key> all;
    all.push_back(std::move(**current));
    if (*next && (*next)->key != all.front().key) {
        if ((*next)->name != all.front().name)
            return Error{fmt::format("{}: is of {}, but {} is of {}",
                                     directory.path_of(kNextIdentity), (*next)->name, kIdentity,
                                     all.front().name)};
        all.push_back(std::move(**next));
    }
    return all;
}

} // namespace

Result<std::vector<Identity>> Store::identities() const {
    return read_both<Identity>(directory_, [&](const char* name) { return read_identity(name); });
}

Result<std::vector<PublicKey>> Store::own_keys() const {
    return read_both<PublicKey>(
        directory_, [&](const char* name) { return secrets_.read_public(directory_, name); });
}

Result<std::string> Store::export_public() const {
    auto all = identities();
    if (!all)
        return all.error();
    std::string text;
    for (const Identity& identity : *all)
        text += write_public(identity);
    auto before = successions();
    if (!before)
        return before.error();
    return text + write_successions(*before);
}

Result<std::string> Store::export_newest() const {
    auto all = identities();
    if (!all)
        return all.error();
    auto past = successions();
    if (!past)
        return past.error();
    std::erase_if(*past, [&](const Succession& s) { return s.to != all->back().key; });
    return past->empty() ? std::string() : write_public(all->back()) + write_successions(*past);
}

Result<std::vector<Succession>> Store::successions() const {
    return read_text_file<std::vector<Succession>>(directory_, kSuccessions, kMaxPublicText,
                                                   read_successions);
}

Result<void> Store::rotate_identity(UnixTime now) {
    auto lock = directory_.lock();
    if (!lock)
        return lock.error();
    auto all = identities();
    if (!all)
        return all.error();
    if (all->size() > 1)
        return Error{"there are two identities already; 'encsync keys retire' drops the older one "
                     "once every peer trusts the newer"};
    const Identity& current = all->front();
    // Even if the clock was set back, the new key must not be the older one.
    const auto identity = make_identity(current.name, std::max(now, current.created + 1));
    auto past = successions();
    if (!past)
        return past.error();
    // What an interrupted rotation left: nobody has the key that it leads to.
    std::erase_if(*past, [&](const Succession& s) { return s.from == current.key; });
    if (past->size() == kMaxSuccessions)
        past->erase(past->begin());
    past->push_back(make_succession(current, identity.key));
    return log_and(now, KeyEvent::rotate, {identity}, [&]() -> Result<void> {
        if (auto ok = directory_.write(kSuccessions, as_bytes(write_successions(*past))); !ok)
            return ok;
        return secrets_.write(directory_, kNextIdentity, write_secret(identity));
    });
}

Result<void> Store::retire(UnixTime now) {
    auto lock = directory_.lock();
    if (!lock)
        return lock.error();
    auto all = identities();
    if (!all)
        return all.error();
    if (all->size() < 2)
        return Error{"there is one identity only; 'encsync keys rotate --what identity' makes the "
                     "next one first"};
    return log_and(now, KeyEvent::retire, {all->front()},
                   [&] { return secrets_.advance(directory_); });
}

// A crash between the two writes of a revocation leaves the key in both files.
Result<std::vector<TrustedKey>> Store::trusted() const {
    auto all = read_text_file<std::vector<TrustedKey>>(directory_, kTrusted, kMaxTrustedText,
                                                       read_trusted);
    auto never = revoked();
    if (!never)
        return never.error();
    if (all)
        std::erase_if(*all, [&](const TrustedKey& key) { return is_revoked(*never, key.key); });
    return all;
}

Result<void> Store::save_trusted(const std::vector<TrustedKey>& keys) const {
    return directory_.write(kTrusted, as_bytes(write_trusted(keys)));
}

Result<std::size_t> Store::trust(std::span<const PublicKey> keys, UnixTime now) {
    auto lock = directory_.lock();
    if (!lock)
        return lock.error();
    return add_trusted(keys, true, now);
}

Result<std::size_t> Store::trust(const PublicFile& file, UnixTime now) {
    auto lock = directory_.lock();
    if (!lock)
        return lock.error();
    if (auto ok = check_successors(file); !ok)
        return ok.error();
    return add_trusted(file.keys, false, now);
}

Result<void> Store::may_trust(const PublicFile& file, bool new_identity) const {
    if (!new_identity)
        if (auto ok = check_successors(file); !ok)
            return ok;
    if (auto planned = plan_trust(file.keys, unix_now()); !planned)
        return planned.error();
    return {};
}

Result<void> Store::check_successors(const PublicFile& file) const {
    auto all = trusted();
    if (!all)
        return all.error();
    for (const PublicKey& key : file.keys) {
        const auto vouches = [&](const TrustedKey& older) {
            return older.name == key.name && succeeds(file.successions, older.key, key.key);
        };
        const auto known = std::ranges::find(*all, key.name, &TrustedKey::name);
        if (known != all->end() && std::ranges::none_of(*all, vouches))
            return Error{
                fmt::format("{0} is trusted with {1}, and {2} is not signed by that key. If "
                            "{0} was set up anew, ask there for its fingerprint and give "
                            "--new-identity; else this file is somebody else's",
                            key.name, fingerprint(known->key), fingerprint(key.key))};
    }
    return {};
}

Result<std::size_t> Store::add_trusted(std::span<const PublicKey> keys, bool anew,
                                       UnixTime now) const {
    auto planned = plan_trust(keys, now);
    if (!planned)
        return planned.error();
    const auto change = [&]() -> Result<void> {
        // A machine that was set up anew has not got them, and would be refused for that.
        if (anew)
            for (const PublicKey& key : planned->fresh)
                if (auto ok = ppk_files().erase(key.name); !ok)
                    return ok;
        return save_trusted(planned->all);
    };
    if (!planned->fresh.empty())
        if (auto ok = log_and(now, KeyEvent::trust, planned->fresh, change); !ok)
            return ok.error();
    return planned->fresh.size();
}

Result<Store::Trust> Store::plan_trust(std::span<const PublicKey> keys, UnixTime now) const {
    auto own = own_keys();
    if (!own)
        return own.error();
    auto all = trusted();
    if (!all)
        return all.error();
    auto never = revoked();
    if (!never)
        return never.error();
    std::vector<PublicKey> fresh;
    for (const PublicKey& key : keys) {
        if (auto ok = check_name(key.name); !ok)
            return ok.error();
        if (is_revoked(*never, key.key))
            return Error{fmt::format("{} of {} was revoked, and is never trusted again; {} needs a "
                                     "new identity",
                                     fingerprint(key.key), key.name, key.name)};
        if (std::ranges::any_of(*own, [&](const auto& mine) { return mine.key == key.key; }))
            return Error{"this is this node's own key; trust it on the peers"};
        if (own->front().name == key.name)
            return Error{fmt::format("the key names {}, which is this node's own name", key.name)};
        const auto same = std::ranges::find(*all, key.key, &TrustedKey::key);
        if (same != all->end() && same->name == key.name)
            continue;
        if (same != all->end())
            return Error{
                fmt::format("{} is trusted already, as {}", fingerprint(key.key), same->name)};
        if (std::ranges::count(*all, key.name, &TrustedKey::name) ==
            static_cast<long>(kKeysPerName))
            return Error{fmt::format("{0} has two trusted keys already; 'encsync keys retire "
                                     "--peer {0}' drops the older one",
                                     key.name)};
        if (all->size() == kMaxTrusted)
            return Error{
                fmt::format("{} keys are trusted already, which is the limit", kMaxTrusted)};
        TrustedKey added;
        static_cast<PublicKey&>(added) = key;
        // Never earlier than the last one, even if the clock was set back: the times define the
        // order.
        added.since = all->empty() ? now : std::max(now, all->back().since);
        all->push_back(std::move(added));
        fresh.push_back(key);
    }
    return Trust{std::move(*all), std::move(fresh)};
}

Result<std::size_t> Store::forget(const std::string& name, UnixTime now) {
    auto lock = directory_.lock();
    if (!lock)
        return lock.error();
    return drop(name, now);
}

Result<std::size_t> Store::drop(const std::string& name, UnixTime now) const {
    auto all = trusted();
    if (!all)
        return all.error();
    std::vector<PublicKey> gone;
    std::erase_if(*all, [&](const TrustedKey& key) {
        if (key.name != name)
            return false;
        gone.push_back(key);
        return true;
    });
    auto events = gone_events(KeyEvent::forget, gone, {name});
    if (!events)
        return events.error();
    if (events->empty())
        return Error{fmt::format("no key of '{}' is trusted", name)};
    const auto change = [&]() -> Result<void> {
        if (auto ok = erase_files_of(name); !ok)
            return ok;
        return gone.empty() ? Result<void>() : save_trusted(*all);
    };
    if (auto ok = log_and(now, *events, change); !ok)
        return ok.error();
    return events->size();
}

Result<void> Store::erase_files_of(const std::string& peer) const {
    if (auto ok = ppk_files().erase(peer); !ok)
        return ok;
    if (auto ok = psk_files().erase(peer); !ok)
        return ok;
    return certificate_files().erase(peer);
}

Result<std::vector<Store::Event>> Store::gone_events(KeyEvent event,
                                                     const std::vector<PublicKey>& gone,
                                                     const std::set<std::string>& peers) const {
    std::vector<Event> events = events_of(event, gone);
    for (const std::string& peer : peers) {
        auto there = has_psk(peer);
        if (!there)
            return there.error();
        if (*there)
            events.push_back({KeyEvent::psk_gone, peer, kPskPrint});
        auto held = certificates(peer);
        if (!held) // it must not keep a stolen key trusted
            events.push_back({KeyEvent::ca_gone, peer, kUnreadablePrint});
        else if (*held)
            for (const CertificateUse use : kCertificateUses)
                std::ranges::move(gone_of(**held, use), std::back_inserter(events));
    }
    return events;
}

Result<void> Store::retire_peer(const std::string& name, UnixTime now) {
    auto lock = directory_.lock();
    if (!lock)
        return lock.error();
    auto all = trusted();
    if (!all)
        return all.error();
    const auto count = std::ranges::count(*all, name, &TrustedKey::name);
    if (count == 0)
        return Error{fmt::format("no key of '{}' is trusted", name)};
    if (count == 1)
        return Error{fmt::format("{} has one trusted key only; 'encsync keys forget {}' would drop "
                                 "it",
                                 name, name)};
    const auto older = std::ranges::find(*all, name, &TrustedKey::name);
    const PublicKey gone = *older;
    all->erase(older);
    return log_and(now, KeyEvent::forget, {gone}, [&] { return save_trusted(*all); });
}

// ---- keys that were stolen -----------------------------------------------------------------

Result<std::vector<Revocation>> Store::revoked() const {
    return read_text_file<std::vector<Revocation>>(directory_, kRevoked, kMaxRevokedText,
                                                   read_revocations);
}

// ---- the log -------------------------------------------------------------------------------

Result<KeyLog> Store::log() const {
    return read_text_file<KeyLog>(directory_, kLog, kMaxLogText, read_log);
}

// Of identities and of peers. A file of certificates that cannot be read has none.
Result<LoggedKeys> Store::keys() const {
    LoggedKeys keys;
    auto there = directory_.has(kIdentity);
    if (!there)
        return there.error();
    if (*there) {
        auto own = own_keys();
        if (!own)
            return own.error();
        for (const PublicKey& key : *own)
            keys.emplace(key.name, fingerprint(key.key));
    }
    auto others = trusted();
    if (!others)
        return others.error();
    for (const TrustedKey& key : *others)
        keys.emplace(key.name, fingerprint(key.key));
    auto names = directory_.names(kX509Prefix);
    if (!names)
        return names.error();
    for (const std::string& name : *names)
        if (const auto held = certificates(name.substr(kX509Prefix.size())); held && *held)
            for (const CertificateUse use : kCertificateUses)
                for (const HeldCertificate& one : (*held)->of(use))
                    keys.emplace((*held)->peer, certificate_fingerprint(one.der));
    return keys;
}

std::vector<Store::Event> Store::events_of(KeyEvent event, const std::vector<PublicKey>& keys) {
    std::vector<Event> events;
    for (const PublicKey& key : keys)
        events.push_back({event, key.name, fingerprint(key.key)});
    return events;
}

Result<void> Store::log_and(UnixTime now, KeyEvent event, const std::vector<PublicKey>& changed,
                            const std::function<Result<void>()>& change) const {
    return log_and(now, events_of(event, changed), change);
}

Result<void> Store::log_and(UnixTime now, const std::vector<Event>& events,
                            const std::function<Result<void>()>& change) const {
    auto log = this->log();
    if (!log)
        return log.error();
    std::string last = last_hash(*log);
    std::string text;
    const auto add = [&](KeyEvent what, const std::string& name, const std::string& print) {
        LogEntry entry{now, what, name, print, {}};
        text += write_entry(last, entry);
        last = entry.hash;
    };
    if (log->size == 0) {
        text = log_title();
        auto before = keys();
        if (!before)
            return before.error();
        for (const auto& [name, print] : *before)
            add(KeyEvent::found, name, print);
    }
    for (const Event& each : events)
        add(each.event, each.name, each.fingerprint);
    const std::size_t size = log->size + text.size();
    if (size > kMaxLogText)
        return Error{
            fmt::format("{}: full; move it away, and a new one begins", directory_.path_of(kLog))};
    if (auto ok = directory_.append(kLog, log->size, as_bytes(text)); !ok)
        return Error{ok.error().text + "; the keys have not changed"};
    auto done = change();
    if (!done) {
        text.clear();
        for (const Event& each : events)
            add(KeyEvent::failed, each.name, each.fingerprint);
        if (auto ok = directory_.append(kLog, size, as_bytes(text)); !ok)
            return Error{
                fmt::format("{}; nor does the log say so: {}", done.error().text, ok.error().text)};
    }
    return done;
}

Result<std::vector<std::string>> Store::differences(const KeyLog& log) const {
    auto there = keys();
    if (!there)
        return there.error();
    const LoggedKeys logged = log.size == 0 ? *there : keys_of(log);
    std::vector<std::string> out;
    for (const auto& [name, print] : *there)
        if (!logged.contains({name, print}))
            out.push_back(
                fmt::format("{} of {} is there, though not according to the log", print, name));
    for (const auto& [name, print] : logged)
        if (!there->contains({name, print}))
            out.push_back(
                fmt::format("{} of {} is not there, though it is in the log", print, name));
    return out;
}

Result<SecretSeed> Store::node_secret() const {
    auto secret = read_secret_file<SecretSeed>(secrets_, directory_, kNodeSecret,
                                               [](auto t) { return read_node_secret(t); });
    if (!secret)
        return secret.error();
    if (!*secret)
        return Error{fmt::format("{}: not there, though every key store has one",
                                 directory_.path_of(kNodeSecret))};
    return std::move(**secret);
}

Result<std::array<std::uint8_t, 32>> Store::derive(std::string_view purpose) const {
    auto secret = node_secret();
    if (!secret)
        return secret.error();
    std::array<std::uint8_t, 32> derived;
    crypto_generichash(derived.data(), derived.size(), as_bytes(purpose).data(), purpose.size(),
                       secret->bytes().data(), secret->bytes().size());
    return derived;
}

Result<std::uint32_t> Store::creatorid() const {
    // Each try uses another purpose; one in 2^32 needs a second try.
    for (int attempt = 0;; attempt++) {
        auto derived = derive(fmt::format("creatorid {}", attempt));
        if (!derived)
            return derived.error();
        if (const auto id = load_be<std::uint32_t>(derived->data()); id != 0)
            return id;
    }
}

} // namespace encsync::keys
