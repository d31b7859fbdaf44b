// SPDX-License-Identifier: ISC
// Makes preshared keys (PPK, RFC 8784) with each peer, and the next one of the last. No I/O and no
// clock. KeySync owns it.
//
// Of two nodes, the one whose name sorts first leads. Each says all of its state (PpkState), again
// when it has changed, and the receiver ignores messages that arrive out of order.
//     1. The leader offers a step: of which key the next is made, its epoch, and a random.
//     2. The other adds its own random, stores the next key, and answers with that random.
//     3. The leader stores the next key, too.
//     4. Who sees that the peer holds it as well offers it in IKE from then on, and stores that.
//     5. When both say so, the leader authenticates anew, make before break.
//     6. Who has seen IKE use it, and that the peer offers it, erases the older one, and stores
//     that
//        one was used: from then on a tunnel without may be refused (ppk=auto).
// The store is the only memory, written before it is spoken of. A node erases a key only if the
// peer does not hold it (2, 3: one that was stored in a step that was not finished) or will never
// offer it again (6), and offers one only if the peer holds it. So whatever is lost, whenever a
// node crashes, each accepts what the other offers. A step that was interrupted begins again with
// other randoms, and what it had left is replaced.
#pragma once

#include "keysync/ppk_message.hpp"
#include "keysync/writer.hpp"
#include "util/peer_id.hpp"

#include <array>
#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace encsync::keysync {

using Instant = std::chrono::steady_clock::time_point;

// What the store has for a peer, and what its conn says of it.
struct OwnPpk : PpkName {
    keys::UnixTime created = 0;
    keys::PpkOrigin origin{};
};
struct OwnPpks {
    bool used = false; // else nothing is said or made
    std::vector<OwnPpk> held;
    std::size_t offer = 0;
    std::chrono::seconds rotate{}; // the age at which the next one is made; 0: never
    bool confirmed = false;        // the store says that IKE has used one with the peer
};

struct PpkHooks {
    // Which one the peer's IKE_SA uses.
    std::function<std::optional<keys::PpkId>(PeerId)> in_use;
    // Authenticate anew, make before break.
    std::function<void(PeerId)> authenticate;
    // Asks the writer; `done` is called with whether it was done.
    std::function<void(Request, std::function<void(bool)> done)> ask;
    // A random session number and randoms.
    std::function<void(MutableBytes)> random;
};

// For a person.
enum class PpkPhase { off, none, waits, making, switching, settled };
std::string_view to_string(PpkPhase phase);

class PpkSync {
  public:
    explicit PpkSync(PpkHooks hooks);

    void set_name(std::string own) { name_ = std::move(own); }
    void set(PeerId peer, const std::string& name, OwnPpks own);
    void forget(PeerId peer) { peers_[peer] = {}; }
    void on_up(PeerId peer);
    void on_down(PeerId peer);
    void on_message(PeerId peer, const PpkMessage& message);
    void advance(PeerId peer, Instant now, keys::UnixTime wall);

    // Make the next one, as soon as the peer is heard. False: it is not up, or takes no part.
    bool rotate(PeerId peer);
    PpkPhase phase(PeerId peer) const;

    // What is to be sent now; none: nothing.
    std::optional<PpkMessage> next_message(PeerId peer, Instant now);

  private:
    struct Peer {
        std::string name;
        OwnPpks own;
        bool up = false;
        std::optional<PpkState> heard;
        std::uint64_t session = 0, number = 0; // of the last message heard
        bool asked = false;                    // for a later key than the two have in common
        std::optional<std::uint32_t> wanted;   // a later key than of this epoch
        // The leader's: what it offers. The other's: what it has answered to, with its random.
        std::optional<PpkStep> step;
        bool stored = false;    // the other has the key of its step
        bool under_way = false; // a request about this peer is
        Instant not_before{};   // the next one, after one that failed
        PpkState said;
        Instant due{};
        std::chrono::seconds pause{1};
        Instant authenticated{}; // the last attempt
        std::chrono::seconds retry{};
        // Steps of a peer that are stored: each writes to the disk, and to the log for good.
        double tokens = 16;
        Instant filled{};
    };

    bool leads(const Peer& peer) const { return name_ < peer.name; }
    PpkState state_of(const Peer& peer) const;
    const OwnPpk* common(const Peer& peer) const;
    bool settled(const Peer& peer) const;
    bool may_drop_all_but(const Peer& peer, const std::optional<keys::PpkId>& base) const;
    bool take_token(Peer& peer) const;
    void decide(Peer& peer, PeerId id, keys::UnixTime wall);
    void plan_step(Peer& peer);
    void answer(Peer& peer, PeerId id, const PpkStep& offered);
    void finish(Peer& peer, PeerId id, const PpkStep& answered);
    void mix(Peer& peer, PeerId id, const PpkStep& step, const keys::PpkRandom& theirs);
    void ask(Peer& peer, PeerId id, Request request, std::function<void(Peer&)> done);

    const PpkHooks hooks_;
    Instant now_{};
    std::string name_;
    std::uint64_t session_ = 0, number_ = 0;
    std::array<Peer, kMaxPeers> peers_;
};

} // namespace encsync::keysync
