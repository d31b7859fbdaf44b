// SPDX-License-Identifier: ISC
// Version 5 as FreeBSD 13, 14 and 15 speak it. A state comes in three sizes, each with action
// numbers of its own.
#include "decode/tables.hpp"

namespace encsync::decode {
namespace {

// PFTM_MAX: 20 in FreeBSD 13; SCTP added five.
constexpr std::uint16_t kTimeoutMax1301 = 20, kTimeoutMax = 25;

constexpr Field k1301[] = {
    {"id", 0, Kind::hex64},
    {"creatorid", 228, Kind::creatorid},
    {"ifname", 8, Kind::ifname},
    {"af", 232, Kind::family},
    {"proto", 233, Kind::u8},
    {"direction", 234, Kind::direction},
    {"wire", 24, Kind::key36, 232},
    {"stack", 60, Kind::key36, 232},
    {"src", 96, Kind::peer},
    {"dst", 128, Kind::peer},
    {"creation", 188, Kind::u32},
    {"expire", 192, Kind::u32},
    {"timeout", 239, Kind::timeout, kTimeoutMax1301},
    {"state_flags", 238, Kind::u8},
    {"packets", 196, Kind::u64_pair},
    {"bytes", 212, Kind::u64_pair},
    {"rt_addr", 160, Kind::address, 232},
    {"rule", 176, Kind::u32},
    {"anchor", 180, Kind::u32},
    {"nat_rule", 184, Kind::u32},
    {"log", 237, Kind::u8},
    {"sync_flags", 240, Kind::u8},
    {"updates", 241, Kind::u8},
};

constexpr Field k1400[] = {
    {"id", 0, Kind::hex64},
    {"creatorid", 228, Kind::creatorid},
    {"ifname", 8, Kind::ifname},
    {"af", 232, Kind::family},
    {"proto", 233, Kind::u8},
    {"direction", 234, Kind::direction},
    {"wire", 24, Kind::key36, 232},
    {"stack", 60, Kind::key36, 232},
    {"src", 96, Kind::peer},
    {"dst", 128, Kind::peer},
    {"creation", 188, Kind::u32},
    {"expire", 192, Kind::u32},
    {"timeout", 239, Kind::timeout, kTimeoutMax},
    {"state_flags", 235, Kind::u16},
    {"packets", 196, Kind::u64_pair},
    {"bytes", 212, Kind::u64_pair},
    {"rt", 260, Kind::u8},
    {"rt_addr", 160, Kind::address, 232},
    {"rt_ifname", 261, Kind::ifname},
    {"rule", 176, Kind::u32},
    {"anchor", 180, Kind::u32},
    {"nat_rule", 184, Kind::u32},
    {"rtableid", 250, Kind::i32},
    {"max_mss", 256, Kind::u16},
    {"log", 237, Kind::u8},
    {"sync_flags", 240, Kind::u8},
    {"updates", 241, Kind::u8},
    {"qid", 242, Kind::u16},
    {"pqid", 244, Kind::u16},
    {"dnpipe", 246, Kind::u16},
    {"dnrpipe", 248, Kind::u16},
    {"min_ttl", 254, Kind::u8},
    {"set_tos", 255, Kind::u8},
    {"set_prio", 258, Kind::u8_pair},
};

// The wire and the stack side each have a family and a protocol of their own (af-to).
constexpr Field k1500[] = {
    {"id", 0, Kind::hex64},
    {"creatorid", 228, Kind::creatorid},
    {"ifname", 8, Kind::ifname},
    {"orig_ifname", 312, Kind::ifname},
    {"af", 344, Kind::family},
    {"proto", 347, Kind::u8},
    {"wire_af", 344, Kind::family},
    {"stack_af", 345, Kind::family},
    {"wire_proto", 347, Kind::u8},
    {"stack_proto", 348, Kind::u8},
    {"direction", 351, Kind::direction},
    {"wire", 24, Kind::key36, 344},
    {"stack", 60, Kind::key36, 345},
    {"src", 96, Kind::peer},
    {"dst", 128, Kind::peer},
    {"creation", 188, Kind::u32},
    {"expire", 192, Kind::u32},
    {"timeout", 350, Kind::timeout, kTimeoutMax},
    {"state_flags", 332, Kind::u16},
    {"packets", 196, Kind::u64_pair},
    {"bytes", 212, Kind::u64_pair},
    {"rt", 352, Kind::u8},
    {"rt_af", 346, Kind::route_family},
    {"rt_addr", 160, Kind::address, 346},
    {"rt_ifname", 296, Kind::ifname},
    {"rule", 176, Kind::u32},
    {"anchor", 180, Kind::u32},
    {"nat_rule", 184, Kind::u32},
    {"rtableid", 328, Kind::i32},
    {"max_mss", 342, Kind::u16},
    {"log", 349, Kind::u8},
    {"tagname", 232, Kind::tag},
    {"qid", 334, Kind::u16},
    {"pqid", 336, Kind::u16},
    {"dnpipe", 338, Kind::u16},
    {"dnrpipe", 340, Kind::u16},
    {"min_ttl", 353, Kind::u8},
    {"set_tos", 354, Kind::u8},
    {"set_prio", 355, Kind::u8_pair},
};

constexpr Field kUpdC[] = {
    {"id", 0, Kind::hex64},    {"creatorid", 72, Kind::creatorid},
    {"src", 8, Kind::peer},    {"dst", 40, Kind::peer},
    {"expire", 76, Kind::u32}, {"timeout", 80, Kind::timeout, kTimeoutMax},
};
constexpr Field kId[] = {{"id", 0, Kind::hex64}, {"creatorid", 8, Kind::hex32}};
constexpr Field kClr[] = {{"ifname", 0, Kind::ifname}, {"creatorid", 16, Kind::creatorid}};
constexpr Field kBus[] = {
    {"creatorid", 0, Kind::hex32}, {"endtime", 4, Kind::u32}, {"status", 8, Kind::bus_status}};
constexpr Field kTdb[] = {
    {"spi", 0, Kind::hex32},  {"sockaddr", 4, Kind::sockaddr}, {"rpl", 32, Kind::u32},
    {"bytes", 36, Kind::u64}, {"sproto", 44, Kind::u8},        {"updates", 45, Kind::u8},
};

constexpr Message kMessages[] = {
    {0, "CLR", 20, kClr},         {1, "INS_1301", 242, k1301},  {2, "INS_ACK", 12, kId},
    {3, "UPD_1301", 242, k1301},  {4, "UPD_C", 84, kUpdC},      {5, "UPD_REQ", 12, kId},
    {6, "DEL", 242, k1301}, // FreeBSD 13 only; later an error
    {7, "DEL_C", 12, kId},        {8, "INS_F", 0, {}, true},    {9, "DEL_F", 0, {}, true},
    {10, "BUS", 12, kBus},        {11, "TDB", 48, kTdb},        {12, "EOF"},
    {13, "INS_1400", 277, k1400}, {14, "UPD_1400", 277, k1400}, {15, "INS_1500", 360, k1500},
    {16, "UPD_1500", 360, k1500},
};
static_assert(fits(kMessages));

} // namespace

std::span<const Message> freebsd_messages() {
    return kMessages;
}

} // namespace encsync::decode
