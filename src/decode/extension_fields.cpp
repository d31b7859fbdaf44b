// SPDX-License-Identifier: ISC
// The messages of encsync nodes besides standard pfsync.
#include "decode/fields.hpp"
#include "pfsync/extension.hpp"

namespace encsync::decode {
namespace {

namespace extension = pfsync::extension;
using pfsync::Kind;

constexpr Field kHello[] = {
    {"session", extension::hello::session, FieldKind::hex64},
    {"peer_session", extension::hello::peer_session, FieldKind::hex64},
    {"creatorid", extension::hello::creatorid, FieldKind::hex32},
    {"version", extension::hello::version, FieldKind::u16},
    {"role", extension::hello::role, FieldKind::role},
    {"flags", extension::hello::flags, FieldKind::u8},
    {"states", extension::hello::states, FieldKind::u64},
    {"live", extension::hello::live, FieldKind::u64},
    {"checked", extension::hello::checked, FieldKind::u32},
    {"hears", extension::hello::count, FieldKind::rest},
};

constexpr Field kSeq[] = {
    {"number", extension::seq::number, FieldKind::u64},
    {"session", extension::seq::session, FieldKind::hex64},
};

constexpr Field kAck[] = {
    {"highest", extension::ack::highest, FieldKind::u64},
    {"session", extension::ack::session, FieldKind::hex64},
    {"bitmap", extension::ack::bitmap, FieldKind::rest},
};

constexpr Field kRoot[] = {
    {"since", extension::root::since, FieldKind::u64},
    {"sum", extension::root::sum, FieldKind::hex64},
    {"states", extension::root::count, FieldKind::u64},
};

constexpr Field kAsk[] = {{"node", extension::ask::node, FieldKind::u32}};

constexpr Field kSums[] = {
    {"node", extension::sums::node, FieldKind::u32},
    {"sums", extension::sums::children, FieldKind::rest},
};

constexpr Field kList[] = {
    {"leaf", extension::list::leaf, FieldKind::u32},
    {"part", extension::list::part, FieldKind::u16},
    {"flags", extension::list::flags, FieldKind::u8},
    {"flows", extension::list::size, FieldKind::rest},
};

constexpr Field kAbsent[] = {
    {"id", extension::absent::id, FieldKind::hex64},
    {"creatorid", extension::absent::creatorid, FieldKind::hex32},
    {"since", extension::absent::since, FieldKind::u64},
};

constexpr Field kRelayRoot[] = {
    {"session", extension::relay_root::session, FieldKind::hex64},
    {"sum", extension::relay_root::sum, FieldKind::hex64},
    {"states", extension::relay_root::count, FieldKind::u64},
};

constexpr Field kFetch[] = {
    {"id", extension::fetch::id, FieldKind::hex64},
    {"creatorid", extension::fetch::creatorid, FieldKind::hex32},
    {"ended", extension::fetch::ended, FieldKind::u32},
};

constexpr Field kOrphan[] = {
    {"action", extension::orphan::action, FieldKind::u8},
    {"state", extension::orphan::size, FieldKind::rest},
};

constexpr Field kKeys[] = {
    {"own", extension::keys::own, FieldKind::u8},
    {"trusted", extension::keys::trusted, FieldKind::u8},
    {"own_key", extension::keys::own_keys, FieldKind::hex64},
    {"next_key", extension::keys::own_keys + 8, FieldKind::hex64},
    {"trusted_key", extension::keys::trusted_keys, FieldKind::hex64},
    {"trusted_next", extension::keys::trusted_keys + 8, FieldKind::hex64},
    {"revoked", extension::keys::revoked, FieldKind::bytes16},
};

constexpr Field kKeyText[] = {
    {"length", extension::key_text::length, FieldKind::u16},
    {"text", extension::key_text::text, FieldKind::rest},
};

constexpr Field kPpk[] = {
    {"session", extension::ppk::session, FieldKind::hex64},
    {"number", extension::ppk::number, FieldKind::u64},
    {"held", extension::ppk::held, FieldKind::u8},
    {"offer", extension::ppk::offer, FieldKind::u8},
    {"flags", extension::ppk::flags, FieldKind::u8},
    {"epoch", extension::ppk::epochs, FieldKind::u32},
    {"later_epoch", extension::ppk::epochs + 4, FieldKind::u32},
    {"id", extension::ppk::ids, FieldKind::bytes16},
    {"later_id", extension::ppk::ids + 16, FieldKind::bytes16},
    {"next_epoch", extension::ppk::epoch, FieldKind::u32},
    {"base", extension::ppk::base, FieldKind::bytes16},
};

constexpr Field kTail[] = {
    {"mark", extension::tail::mark, FieldKind::u32},
    {"timeout", extension::tail::timeout, FieldKind::u32},
    {"zone", extension::tail::zone, FieldKind::u16},
    {"flags", extension::tail::flags, FieldKind::u8},
    {"status", extension::tail::status, FieldKind::u8},
};

constexpr std::size_t kAdjustOrig = extension::more::seq_adjust,
                      kAdjustReply = kAdjustOrig + extension::more::adjust::size;

constexpr Field kMore[] = {
    {"labels", extension::more::labels, FieldKind::bytes16},
    {"helper", extension::more::helper, FieldKind::name},
    {"lifetime", extension::more::lifetime, FieldKind::u32},
    {"expectations", extension::more::expectations, FieldKind::u8},
    {"more_flags", extension::more::flags, FieldKind::u8},
    {"reply_zone", extension::more::reply_zone, FieldKind::u16},
    {"orig_seq_position", kAdjustOrig + extension::more::adjust::position, FieldKind::u32},
    {"orig_seq_before", kAdjustOrig + extension::more::adjust::before, FieldKind::u32},
    {"orig_seq_after", kAdjustOrig + extension::more::adjust::after, FieldKind::u32},
    {"reply_seq_position", kAdjustReply + extension::more::adjust::position, FieldKind::u32},
    {"reply_seq_before", kAdjustReply + extension::more::adjust::before, FieldKind::u32},
    {"reply_seq_after", kAdjustReply + extension::more::adjust::after, FieldKind::u32},
};

constexpr Field kExpect[] = {
    {"id", extension::expect::id, FieldKind::hex64},
    {"creatorid", extension::expect::creatorid, FieldKind::creatorid},
    {"index", extension::expect::index, FieldKind::u8},
    {"count", extension::expect::count, FieldKind::u8},
    {"proto", extension::expect::proto, FieldKind::u8},
    {"flags", extension::expect::flags, FieldKind::u8},
    {"class", extension::expect::policy_class, FieldKind::u8},
    {"af", extension::expect::af, FieldKind::family},
    {"timeout", extension::expect::timeout, FieldKind::u32},
    {"src_addr", extension::expect::src, FieldKind::address, extension::expect::af},
    {"dst_addr", extension::expect::dst, FieldKind::address, extension::expect::af},
    {"mask_addr", extension::expect::mask, FieldKind::address, extension::expect::af},
    {"nat_addr", extension::expect::nat_address, FieldKind::address, extension::expect::af},
    {"src_port", extension::expect::sport, FieldKind::u16},
    {"dst_port", extension::expect::dport, FieldKind::u16},
    {"mask_port", extension::expect::mask_port, FieldKind::u16},
    {"nat_port", extension::expect::nat_port, FieldKind::u16},
    {"function", extension::expect::function, FieldKind::function},
};

constexpr Field kRemovalTail[] = {{"term", extension::removal::term, FieldKind::u8}};

constexpr Message kMessages[] = {
    {extension::kHello, "HELLO", Kind::unknown, extension::hello::size, kHello},
    {extension::kSeq, "SEQ", Kind::unknown, extension::seq::size, kSeq},
    {extension::kAck, "ACK", Kind::unknown, extension::ack::bitmap + 4, kAck},
    {extension::kExpect, "EXPECT", Kind::unknown, extension::expect::size, kExpect},
    {extension::kRoot, "ROOT", Kind::unknown, extension::root::size, kRoot},
    {extension::kAsk, "ASK", Kind::unknown, extension::ask::size, kAsk},
    {extension::kSums, "SUMS", Kind::unknown, extension::sums::size, kSums},
    {extension::kList, "LIST", Kind::unknown, extension::list::size, kList},
    {extension::kAbsent, "ABSENT", Kind::unknown, extension::absent::size, kAbsent},
    {extension::kRelayRoot, "RELAY_ROOT", Kind::unknown, extension::relay_root::size, kRelayRoot},
    {extension::kFetch, "FETCH", Kind::unknown, extension::fetch::size, kFetch},
    {extension::kOrphan, "ORPHAN", Kind::unknown, extension::orphan::size, kOrphan},
    {extension::kKeys, "KEYS", Kind::unknown, extension::keys::size, kKeys},
    {extension::kKeyText, "KEY_TEXT", Kind::unknown, extension::key_text::size, kKeyText},
    {extension::kPpk, "PPK", Kind::unknown, extension::ppk::size, kPpk},
};
static_assert(pfsync::fits(kMessages));

} // namespace

std::span<const Message> extension_messages() {
    return kMessages;
}

std::span<const Field> extension_tail_fields(std::size_t size) {
    if (size == extension::removal::size)
        return kRemovalTail;
    return size == extension::more::size ? std::span<const Field>(kMore) : kTail;
}

} // namespace encsync::decode
