// SPDX-License-Identifier: ISC
#include "keysync/key_sync.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace encsync::keysync {

using namespace std::chrono_literals;

namespace {

constexpr std::chrono::seconds kFirstPause = 1s, kLongestPause = 60s, kFailed = 60s;
constexpr std::size_t kMostRequests = 16;
constexpr unsigned kMostTexts = 512; // of a peer in a minute
constexpr std::string_view kPublic = "encsync public key ", kRevoked = "encsync revoked keys ";

std::vector<std::uint64_t> prints(const std::vector<keys::RawKey>& keys) {
    std::vector<std::uint64_t> out;
    std::ranges::transform(keys, std::back_inserter(out), keys::key_print);
    return out;
}

bool contains(const std::vector<std::uint64_t>& prints, const keys::RawKey& key) {
    return std::ranges::find(prints, keys::key_print(key)) != prints.end();
}

} // namespace

KeySync::KeySync(sync::Link& link, Writer* writer, Hooks hooks, std::chrono::seconds rotate)
    : link_(link), writer_(writer), hooks_(std::move(hooks)), rotate_(rotate),
      ppks_({hooks_.ppk_in_use, hooks_.authenticate,
             [this](Request request, std::function<void(bool)> done) {
                 ask(std::move(request), std::move(done));
             },
             [](MutableBytes into) { randombytes_buf(into.data(), into.size()); }}) {}

// ---- what is known -------------------------------------------------------------------------

void KeySync::wake() const {
    if (hooks_.wake)
        hooks_.wake();
}

void KeySync::say_at_once(Peer& peer) const {
    peer.state_due = peer.text_due = {};
    peer.state_pause = peer.text_pause = kFirstPause;
    wake();
}

void KeySync::set_own(Own own) {
    own_ = std::move(own);
    revoked_ = keys::digest(own_.revoked);
    ppks_.set_name(own_.name);
    for (Peer& peer : peers_)
        say_at_once(peer);
}

void KeySync::set(PeerId peer, Other other) {
    Peer& p = peers_[peer];
    p.known = true;
    p.other = std::move(other);
    ppks_.set(peer, p.other.name, std::move(p.other.ppks));
    say_at_once(p);
}

void KeySync::forget(PeerId peer) {
    peers_[peer] = {};
    ppks_.forget(peer);
}

void KeySync::on_up(PeerId peer) {
    Peer& p = peers_[peer];
    p.up = true;
    p.heard.reset();
    ppks_.on_up(peer);
    say_at_once(p);
}

void KeySync::on_down(PeerId peer) {
    peers_[peer].up = false;
    peers_[peer].heard.reset();
    ppks_.on_down(peer);
}

bool KeySync::trusts(PeerId peer, const keys::RawKey& own) const {
    const auto& heard = peers_[peer].heard;
    return heard && contains(heard->trusted, own);
}

// ---- hearing -------------------------------------------------------------------------------

void KeySync::on_packet(PeerId peer, Bytes payload) {
    Peer& p = peers_[peer];
    if (writer_ == nullptr || p.other.trusted.empty())
        return;
    auto messages = read(payload);
    if (!messages)
        return refuse(peer, messages.error().text);
    for (const std::string& text : messages->texts) {
        if (!reads_one_more(p))
            return refuse(peer, "more of it than is read in a minute");
        take(peer, text);
    }
    if (messages->ppk)
        ppks_.on_message(peer, *messages->ppk);
    wake();
    if (!messages->state)
        return;
    // Perhaps it has not received what was said before.
    if (!p.heard)
        say_at_once(p);
    p.heard = std::move(messages->state);
}

bool KeySync::reads_one_more(Peer& peer) const {
    if (now_ - peer.counted_since >= 1min) {
        peer.counted_since = now_;
        peer.texts = 0;
    }
    return peer.texts++ < kMostTexts;
}

void KeySync::refuse(PeerId peer, const std::string& why) {
    hooks_.refused(
        fmt::format("what {} says of keys is refused: {}", peers_[peer].other.name, why));
}

void KeySync::take(PeerId peer, const std::string& text) {
    if (text.starts_with(kPublic))
        return take_public(peer, text);
    if (text.starts_with(kRevoked))
        return take_revocations(peer, text);
    refuse(peer, "a text of a kind that this encsync does not know");
}

void KeySync::take_public(PeerId peer, const std::string& text) {
    const Other& other = peers_[peer].other;
    auto file = keys::read_public_file(text);
    if (!file)
        return refuse(peer, file.error().text);
    if (file->keys.front().name != other.name)
        return refuse(peer, fmt::format("a key of '{}'", file->keys.front().name));
    const auto known = [&](const keys::PublicKey& key) {
        return std::ranges::find(other.trusted, key.key) != other.trusted.end();
    };
    if (!std::ranges::all_of(file->keys, known))
        ask({Request::Kind::trust, text});
}

void KeySync::take_revocations(PeerId peer, const std::string& text) {
    auto revocations = keys::read_revocations(text);
    if (!revocations)
        return refuse(peer, revocations.error().text);
    for (const keys::Revocation& r : *revocations)
        if (std::ranges::find(own_.keys, r.key) != own_.keys.end())
            hooks_.refused(fmt::format("this node's own key was revoked on {}: its peers refuse "
                                       "it, and it needs a new identity",
                                       r.by));
        else if (!is_revoked(own_.revoked, r.key) && !is_revoked(to_revoke_, r.key) &&
                 to_revoke_.size() < keys::kMaxRevoked)
            to_revoke_.push_back(r);
    ask_next();
}

// ---- saying --------------------------------------------------------------------------------

void KeySync::send_state(Peer& peer, PeerId id) {
    const MutableBytes room = link_.acquire(id);
    if (room.empty())
        return;
    pfsync::Builder packet(room);
    write(packet, KeyState{prints(own_.keys), prints(peer.other.trusted), revoked_,
                           ppks_.phase(id) != PpkPhase::off});
    link_.commit(id, packet.finish());
    link_.flush();
    peer.state_due = now_ + peer.state_pause;
    peer.state_pause = std::min<std::chrono::seconds>(peer.state_pause * 2, kLongestPause);
}

void KeySync::send_texts(Peer& peer, PeerId id) {
    std::vector<std::string> texts;
    if (!own_.newest.empty() && !contains(peer.heard->trusted, own_.keys.back()))
        texts.push_back(own_.newest);
    if (!own_.revoked.empty() && peer.heard->revoked != revoked_)
        for (const keys::Revocation& r : own_.revoked) // each fits into any packet
            texts.push_back(keys::write_revocations({r}));
    if (texts.empty())
        return;
    for (auto next = texts.begin(); next != texts.end();) {
        const MutableBytes room = link_.acquire(id);
        if (room.empty())
            break;
        pfsync::Builder packet(room);
        while (next != texts.end() && write(packet, *next))
            ++next;
        const bool nothing = packet.empty();
        link_.commit(id, nothing ? 0 : packet.finish());
        if (nothing) {
            hooks_.refused(fmt::format("{} cannot be told of a key: {} bytes do not fit into a "
                                       "packet to it",
                                       peer.other.name, next->size()));
            ++next;
        }
    }
    link_.flush();
    peer.text_due = now_ + peer.text_pause;
    peer.text_pause = std::min<std::chrono::seconds>(peer.text_pause * 2, kLongestPause);
}

void KeySync::retire_psk(PeerId peer, const keys::PskId& shown) {
    retire_older(Request::Kind::retire_psk, peer, shown);
}

void KeySync::retire_certificate(PeerId peer, const keys::CertificateId& shown) {
    retire_older(Request::Kind::retire_certificate, peer, shown);
}

void KeySync::retire_older(Request::Kind kind, PeerId peer,
                           const std::array<std::uint8_t, 32>& shown) {
    if (writer_ != nullptr && !under_way_ && now_ >= not_before_)
        ask({kind, fmt::format("{} {:02x}", peers_[peer].other.name, fmt::join(shown, ""))});
}

bool KeySync::rotate_ppk(PeerId peer) {
    const auto& heard = peers_[peer].heard;
    return writer_ != nullptr && !(heard && !heard->reads_ppk) && ppks_.rotate(peer);
}

void KeySync::send_ppk(PeerId id) {
    const auto message = ppks_.next_message(id, now_);
    if (!message)
        return;
    const MutableBytes room = link_.acquire(id);
    if (room.empty())
        return; // it is said again
    pfsync::Builder packet(room);
    const bool fits = write(packet, *message);
    link_.commit(id, fits ? packet.finish() : 0);
    link_.flush();
}

// ---- acting --------------------------------------------------------------------------------

void KeySync::advance(Instant now, keys::UnixTime wall) {
    now_ = now;
    if (writer_ == nullptr)
        return;
    for (PeerId id = 0; id < kMaxPeers; id++) {
        Peer& peer = peers_[id];
        if (!peer.up || peer.other.trusted.empty())
            continue;
        if (now >= peer.state_due)
            send_state(peer, id);
        if (peer.heard && now >= peer.text_due)
            send_texts(peer, id);
        if (peer.heard && peer.heard->reads_ppk) {
            ppks_.advance(id, now, wall);
            send_ppk(id);
        }
    }
    if (!under_way_ && now >= not_before_)
        decide(wall);
}

bool KeySync::all_accept_next() const {
    for (PeerId id = 0; id < kMaxPeers; id++)
        if (peers_[id].known && !hooks_.accepts(id, own_.keys[1]))
            return false;
    return true;
}

void KeySync::decide(keys::UnixTime wall) {
    if (own_.keys.size() == 2 && all_accept_next())
        return ask({Request::Kind::retire, {}});
    if (own_.keys.size() == 1 && rotate_ > 0s && wall - own_.created >= rotate_.count())
        return ask({Request::Kind::rotate, {}});
    for (PeerId id = 0; id < kMaxPeers; id++) {
        const Peer& peer = peers_[id];
        if (!peer.heard || peer.other.trusted.size() != 2)
            continue;
        const keys::RawKey& newer = peer.other.trusted[1];
        if (peer.heard->own == std::vector{keys::key_print(newer)} && hooks_.proved(id) == newer)
            return ask({Request::Kind::retire_peer, peer.other.name});
    }
}

void KeySync::ask(Request request, std::function<void(bool)> done) {
    if (std::ranges::find(requests_, request, &Waiting::request) != requests_.end())
        return;
    if (requests_.size() == kMostRequests) {
        hooks_.refused("more changes of keys than can be made at once");
        if (done)
            done(false);
        return;
    }
    requests_.push_back({std::move(request), std::move(done)});
    ask_next();
}

void KeySync::ask_next() {
    if (under_way_ || (requests_.empty() && to_revoke_.empty()))
        return;
    Waiting next{{Request::Kind::revoke, {}}, nullptr};
    if (to_revoke_.empty()) {
        next = std::move(requests_.front());
        requests_.pop_front();
    } else {
        next.request.text = keys::write_revocations(std::exchange(to_revoke_, {}));
    }
    under_way_ = true;
    writer_->ask(next.request, [this, kind = next.request.kind,
                                done = std::move(next.done)](const std::string& error) {
        under_way_ = false;
        if (!error.empty())
            hooks_.refused(error);
        if (error.empty() || kind == Request::Kind::revoke) // some of them may have been taken
            hooks_.changed();
        // A peer that sends what cannot be done holds nothing else up.
        const bool own = kind == Request::Kind::rotate || kind == Request::Kind::retire ||
                         kind == Request::Kind::retire_peer || kind == Request::Kind::retire_psk ||
                         kind == Request::Kind::retire_certificate;
        if (!error.empty() && own)
            not_before_ = now_ + kFailed;
        if (done)
            done(error.empty());
        ask_next();
        wake();
    });
}

} // namespace encsync::keysync
