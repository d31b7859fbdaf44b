// SPDX-License-Identifier: ISC
// Golden packets from one pf to another that does not receive it: what is sent is compared field by
// field with what was received, at the offsets of if_pfsync.h and pfvar.h.
#include "pf_rig.hpp"

#include <algorithm>
#include <fstream>
#include <gtest/gtest.h>
#include <iterator>

namespace encsync::sync::test {
namespace {

using pfsync::Dialect;

std::vector<std::uint8_t> golden(Dialect dialect, const std::string& name) {
    std::ifstream file(std::string(ENCSYNC_VECTORS) + "/" + std::string(to_string(dialect)) + "/" +
                       name + ".hex");
    EXPECT_TRUE(file) << name;
    std::string digits{std::istreambuf_iterator<char>(file), {}};
    std::erase_if(digits, [](char c) { return std::isxdigit(static_cast<unsigned char>(c)) == 0; });
    std::vector<std::uint8_t> out;
    for (std::size_t n = 0; n + 1 < digits.size(); n += 2)
        out.push_back(static_cast<std::uint8_t>(std::stoul(digits.substr(n, 2), nullptr, 16)));
    return out;
}

struct Field {
    const char* name;
    std::size_t size, openbsd, freebsd1301, freebsd1400, freebsd1500;
    std::size_t at(Dialect d) const {
        return d == Dialect::openbsd       ? openbsd
               : d == Dialect::freebsd1301 ? freebsd1301
               : d == Dialect::freebsd1400 ? freebsd1400
                                           : freebsd1500;
    }
};

// Fields that must be passed unchanged; both keys, because there is no NAT.
constexpr Field kSame[] = {
    {"id", 8, 0, 0, 0, 0},
    {"wire.addr[0]", 4, 24, 24, 24, 24},
    {"wire.addr[1]", 4, 40, 40, 40, 40},
    {"wire.port", 4, 56, 56, 56, 56},
    {"stack.addr[0]", 4, 64, 60, 60, 60},
    {"stack.addr[1]", 4, 80, 76, 76, 76},
    {"stack.port", 4, 96, 92, 92, 92},
    {"src", 32, 104, 96, 96, 96},
    {"dst", 32, 136, 128, 128, 128},
    {"creation", 4, 196, 188, 188, 188},
    {"expire", 4, 200, 192, 192, 192},
    {"creatorid", 4, 236, 228, 228, 228},
    {"af", 1, 250, 232, 232, 344},
    {"proto", 1, 251, 233, 233, 347},
    {"direction", 1, 252, 234, 234, 351},
    {"timeout", 1, 255, 239, 239, 350},
};

// Fields that only have a meaning on the firewall that wrote them.
struct Own {
    Field field;
    std::vector<std::uint8_t> value;
};
const Own kOwn[] = {
    {{"ifname", 4, 8, 8, 8, 8}, {'a', 'l', 'l', 0}},
    {{"rt_addr", 4, 168, 160, 160, 160}, {0, 0, 0, 0}},
    {{"rule", 4, 184, 176, 176, 176}, {255, 255, 255, 255}},
    {{"anchor", 4, 188, 180, 180, 180}, {255, 255, 255, 255}},
    {{"nat_rule", 4, 192, 184, 184, 184}, {255, 255, 255, 255}},
    {{"state_flags", 1, 261, 238, 236, 333}, {0}}, // windows are known: not sloppy
};

TEST(PassingOn, GoldenPacketsFieldByField) {
    constexpr Dialect kFreebsds[] = {Dialect::freebsd1301, Dialect::freebsd1400,
                                     Dialect::freebsd1500};
    for (const char* name : {"pf-ins", "pf-ins-out"})
        for (const Dialect freebsd : kFreebsds)
            for (const bool back : {false, true}) {
                const Dialect from = back ? freebsd : Dialect::openbsd;
                const Dialect to = back ? Dialect::openbsd : freebsd;
                SCOPED_TRACE(std::string(name) + " from " + std::string(to_string(from)) + " to " +
                             std::string(to_string(to)));
                PfRig rig({from, to});
                const auto arrived = golden(from, name);
                rig.engine->on_packet(0, arrived);
                rig.flush();
                const auto left = rig.messages(1, pfsync::Kind::insert);
                ASSERT_EQ(left.size(), 1u);
                const std::uint8_t* in = arrived.data() + 24; // header, subheader
                const std::uint8_t* out = left[0].data();
                for (const Field& field : kSame)
                    EXPECT_TRUE(std::equal(in + field.at(from), in + field.at(from) + field.size,
                                           out + field.at(to)))
                        << field.name;
                for (const Own& own : kOwn)
                    EXPECT_TRUE(
                        std::equal(own.value.begin(), own.value.end(), out + own.field.at(to)))
                        << own.field.name;
                // The same packet again is not passed.
                rig.sent_to(1);
                rig.engine->on_packet(0, arrived);
                rig.flush();
                EXPECT_EQ(rig.sent_to(1), "");
                EXPECT_EQ(rig.sent_to(0), "");
            }
}

} // namespace
} // namespace encsync::sync::test
