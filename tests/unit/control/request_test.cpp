// SPDX-License-Identifier: ISC
// One request line: accepted as intended, or refused with a named reason.
#include "control/request.hpp"

#include <gtest/gtest.h>
#include <set>

namespace encsync::control {
namespace {

std::string refusal(std::string_view line) {
    const auto parsed = parse_request(line);
    const auto* refused = std::get_if<Refused>(&parsed);
    return refused ? std::string(to_string(refused->reason)) + ": " + refused->text : "accepted";
}

TEST(Request, TakesEveryCommand) {
    EXPECT_EQ(commands().size(), 15u);
    for (const Command& command : commands()) {
        const auto parsed =
            parse_request(boost::json::serialize(boost::json::object{{"command", command.name}}));
        const auto* request = std::get_if<Request>(&parsed);
        ASSERT_TRUE(request) << command.name;
        EXPECT_EQ(request->command, &command);
        EXPECT_EQ(find_command(command.name), &command);
    }
    EXPECT_EQ(find_command("halt"), nullptr);
}

TEST(Request, CarriesItsFields) {
    const auto parsed = parse_request(R"( {"peer":"minnie","command":"bulk"} )");
    const auto* request = std::get_if<Request>(&parsed);
    ASSERT_TRUE(request);
    EXPECT_EQ(request->command->name, "bulk");
    EXPECT_EQ(text(request->fields, "peer"), "minnie");
    EXPECT_EQ(text(request->fields, "filter"), "");
}

TEST(Request, RefusesByName) {
    EXPECT_EQ(refusal(""), "bad_json: not JSON: incomplete JSON");
    EXPECT_EQ(refusal("status"), "bad_json: not JSON: syntax error");
    EXPECT_EQ(refusal(R"({"command":"status"}x)"), "bad_json: not JSON: extra data");
    EXPECT_TRUE(refusal("{\"command\":\"\xff\"}").starts_with("bad_json: "));
    EXPECT_TRUE(refusal(std::string(100, '[')).starts_with("bad_json: "));
    EXPECT_EQ(refusal(R"("status")"), "not_object: a request is a JSON object");
    EXPECT_EQ(refusal("{}"), "no_command: a request has a text field 'command'");
    EXPECT_EQ(refusal(R"({"command":1})"), "no_command: a request has a text field 'command'");
    EXPECT_EQ(refusal(R"({"command":"halt"})"), "unknown_command: unknown command 'halt'");
    EXPECT_EQ(refusal(R"({"command":"status","peer":"m"})"),
              "unknown_field: status: unknown field 'peer'");
    EXPECT_EQ(refusal(R"({"command":"bulk","peer":7})"), "wrong_type: bulk: 'peer' must be a text");
    EXPECT_EQ(refusal(R"({"command":"bulk","peer":null})"),
              "wrong_type: bulk: 'peer' must be a text");
    EXPECT_EQ(refusal(R"({"command":"role","role":"master"})"),
              "bad_value: role: 'role' must be one of active|standby|auto");
    for (const char* role : {"active", "standby", "auto"})
        EXPECT_EQ(refusal(std::string(R"({"command":"role","role":")") + role + "\"}"), "accepted");
    for (const char* role : {"", "activ", "active|standby", "|"})
        EXPECT_TRUE(refusal(std::string(R"({"command":"role","role":")") + role + "\"}")
                        .starts_with("bad_value: "))
            << role;
}

TEST(Request, HasLimits) {
    const auto request = [](std::size_t size) {
        return R"({"command":"states","filter":")" + std::string(size, 'a') + "\"}";
    };
    EXPECT_EQ(refusal(request(kMaxText)), "accepted");
    EXPECT_EQ(refusal(request(kMaxText + 1)),
              "bad_value: states: 'filter' has control characters or more than 1024 bytes");
    EXPECT_TRUE(refusal(R"({"command":"states","filter":"a\u001bb"})").starts_with("bad_value: "));
    EXPECT_TRUE(refusal(R"({"command":"states","filter":"a\u0000b"})").starts_with("bad_value: "));
    const std::string whole = R"({"command":"status"})";
    EXPECT_EQ(refusal(whole + std::string(kMaxRequest - whole.size(), ' ')), "accepted");
    EXPECT_EQ(refusal(whole + std::string(kMaxRequest + 1 - whole.size(), ' ')),
              "too_long: a request longer than 65536 bytes");
}

// The error is shown on a terminal.
TEST(Request, DoesNotEchoWhatCouldHarm) {
    EXPECT_EQ(refusal(R"({"command":"a\u001b[2Jb"})"), "unknown_command: unknown command");
    EXPECT_EQ(refusal(R"({"command":")" + std::string(41, 'a') + "\"}"),
              "unknown_command: unknown command");
    EXPECT_EQ(refusal(R"({"command":"status","a\nb":1})"), "unknown_field: status: unknown field");
}

TEST(Request, RefusesEveryTruncation) {
    const std::string line = R"({"command":"states","filter":"tcp port 443"})";
    ASSERT_EQ(refusal(line), "accepted");
    for (std::size_t size = 0; size < line.size(); size++)
        EXPECT_TRUE(refusal(line.substr(0, size)).starts_with("bad_json: ")) << size;
}

TEST(Refusal, EachHasAName) {
    std::set<std::string> names;
    for (std::size_t i = 0; i < kRefusals; i++)
        names.insert(to_string(static_cast<Refusal>(i)));
    EXPECT_EQ(names.size(), kRefusals);
    EXPECT_FALSE(names.contains("unknown"));
}

} // namespace
} // namespace encsync::control
