// SPDX-License-Identifier: ISC
#include "sync/reliability.hpp"

#include "pfsync/extension.hpp"

#include <algorithm>

namespace encsync::sync {

using namespace std::chrono_literals;
namespace ext = pfsync::extension;

namespace {

// A bulk update may end only when its beginning and all its states have arrived.
bool in_bulk(const Item& item) {
    return item.kind == Item::Kind::bulk || item.kind == Item::Kind::bulk_start;
}

} // namespace

// ---- Outstanding ---------------------------------------------------------------------------

std::uint64_t Outstanding::open(Instant now) {
    packets_.push_back({.number = next_number_, .sent = now, .items = 0});
    return next_number_++;
}

void Outstanding::note(const Item& item) {
    items_.push_back(item);
    packets_.back().items++;
    bulk_items_ += in_bulk(item);
}

void Outstanding::carries(Instant since) {
    packets_.back().since = std::min(packets_.back().since, since);
}

Instant Outstanding::oldest_change() const {
    Instant oldest = Instant::max();
    for (const Packet& packet : packets_)
        oldest = std::min(oldest, packet.since);
    return oldest;
}

std::uint64_t Outstanding::first_with_items() const {
    const auto it = std::find_if(packets_.begin(), packets_.end(),
                                 [](const Packet& packet) { return packet.items != 0; });
    return it != packets_.end() ? it->number : next_number_ - 1;
}

void Outstanding::pop(bool arrived, const Lost& lost) {
    const Packet packet = packets_.front();
    packets_.pop_front();
    for (std::uint32_t n = 0; n < packet.items; n++) {
        const Item item = items_.front();
        items_.pop_front();
        bulk_items_ -= in_bulk(item);
        if (!arrived)
            lost(item, packet.since);
    }
    if (!arrived)
        lost_packets_++;
}

bool Outstanding::acknowledge(std::uint64_t highest, Bytes bitmap, Instant now, const Lost& lost) {
    if (highest >= next_number_)
        return false;
    const std::uint64_t lost_before = lost_packets_;
    // `lost` may not send, but it may queue; new packets never enter here meanwhile.
    while (!packets_.empty() && packets_.front().number <= highest) {
        const std::uint64_t number = packets_.front().number;
        bool arrived = number == highest;
        if (arrived) {
            const Duration sample = now - packets_.front().sent;
            round_trip_ = (round_trip_ * 7 + sample) / 8;
            backoff_ = 0;
        } else {
            const std::uint64_t n = highest - 1 - number;
            arrived = n < bitmap.size() * 8 && (bitmap[n / 8] >> (n % 8) & 1) != 0;
        }
        if (const Instant since = packets_.front().since; arrived && since != Instant::max())
            latency_.observe(now - since);
        pop(arrived, lost);
        if (arrived && window_ < kMaxWindow)
            window_++;
    }
    // Loss means that the path or the peer is full: back off once per window, not per packet.
    if (lost_packets_ != lost_before && highest > shrunk_at_) {
        window_ = std::max(kMinWindow, window_ * 3 / 4);
        shrunk_at_ = next_number_;
    }
    return true;
}

Instant Outstanding::deadline() const {
    if (packets_.empty())
        return Instant::max();
    const Duration wait = std::clamp<Duration>(round_trip_ * 4, 200ms, 2s);
    return packets_.front().sent + wait * (1 << std::min(backoff_, 2u));
}

void Outstanding::expire(const Lost& lost) {
    while (!packets_.empty())
        pop(false, lost);
    window_ = std::max(kMinWindow, window_ / 2);
    backoff_++;
}

void Outstanding::resume(const Lost& lost) {
    while (!packets_.empty())
        pop(false, lost);
    backoff_ = 0;
}

void Outstanding::forget() {
    packets_.clear();
    items_.clear();
    bulk_items_ = 0;
    backoff_ = 0;
}

// ---- Inbox ---------------------------------------------------------------------------------

bool Inbox::take(std::uint64_t number) {
    if (number <= highest_)
        return false;
    const std::uint64_t shift = number - highest_;
    // Shift the bitmap up by `shift`; the packet that was highest becomes bit shift - 1.
    if (shift >= kMaxBits) {
        taken_.fill(0);
        if (shift == kMaxBits && highest_ != 0)
            taken_[(kMaxBits - 1) / 64] |= std::uint64_t{1} << 63;
    } else {
        const std::size_t words = shift / 64, bits = shift % 64;
        for (std::size_t n = taken_.size(); n-- > 0;) {
            std::uint64_t word = 0;
            if (n >= words) {
                word = taken_[n - words] << bits;
                if (bits != 0 && n > words)
                    word |= taken_[n - words - 1] >> (64 - bits);
            }
            taken_[n] = word;
        }
        if (highest_ != 0)
            taken_[(shift - 1) / 64] |= std::uint64_t{1} << ((shift - 1) % 64);
    }
    highest_ = number;
    unacknowledged_++;
    return true;
}

bool Inbox::whole(std::uint64_t since) const {
    if (since >= highest_)
        return true;
    const std::uint64_t before = highest_ - since; // packets, the highest itself left out
    if (before > kMaxBits)
        return false;
    std::uint64_t n = 0;
    for (; n + 64 <= before; n += 64)
        if (taken_[n / 64] != UINT64_MAX)
            return false;
    const std::uint64_t rest = (std::uint64_t{1} << (before - n)) - 1;
    return rest == 0 || (taken_[n / 64] & rest) == rest;
}

std::size_t Inbox::bitmap_bytes() const {
    const std::uint64_t span = highest_ - reported_before_;
    const std::uint64_t bytes = (span + 31) / 32 * 4;
    return static_cast<std::size_t>(std::clamp<std::uint64_t>(bytes, 4, ext::ack::max_bitmap));
}

std::size_t Inbox::ack_size() const {
    return ext::ack::bitmap + bitmap_bytes();
}

void Inbox::write_ack(std::uint8_t* message, std::uint64_t session) {
    store_be(message + ext::ack::highest, highest_);
    store_be(message + ext::ack::session, session);
    const std::size_t bytes = bitmap_bytes();
    for (std::size_t n = 0; n < bytes; n++)
        message[ext::ack::bitmap + n] =
            static_cast<std::uint8_t>(taken_[n / 8] >> (n % 8 * 8) & 0xff);
    unacknowledged_ = 0;
    reported_before_ = reported_;
    reported_ = highest_;
}

} // namespace encsync::sync
