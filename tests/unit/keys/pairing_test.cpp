// SPDX-License-Identifier: ISC
// Pairing: two honest sides agree, and whatever somebody between them does, they do not.
#include "sides.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <gtest/gtest.h>

namespace encsync::keys {
namespace {

using test::fixed_identity;
using test::Message;
using test::Side;

template<class T>
std::string why(const Result<T>& result) {
    return result ? std::string("accepted") : result.error().text;
}

Message joined(Message a, const Message& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
}

// Messages as the peer sends them, whatever the own side is.
Message frame(std::uint8_t kind, const Message& body, std::uint8_t version = Pairing::kVersion) {
    Message out{'E',
                'S',
                'P',
                'A',
                'I',
                'R',
                version,
                kind,
                static_cast<std::uint8_t>(body.size() >> 8),
                static_cast<std::uint8_t>(body.size())};
    return joined(std::move(out), body);
}
Message refusal(Pairing::Refusal reason) {
    return frame(4, {static_cast<std::uint8_t>(reason)});
}

// All that each side sends, message by message, when both people say yes.
struct Script {
    std::vector<Message> mickey, minnie; // commit, reveal, confirm
};
Script script(std::uint8_t nonce_of_mickey = 1, std::uint8_t nonce_of_minnie = 2) {
    auto a = test::mickey(nonce_of_mickey), b = test::minnie(nonce_of_minnie);
    Script out;
    out.mickey.push_back(a.pairing.take());
    out.minnie.push_back(b.pairing.take());
    EXPECT_TRUE(a.pairing.receive(out.minnie[0]));
    EXPECT_TRUE(b.pairing.receive(out.mickey[0]));
    out.mickey.push_back(a.pairing.take());
    EXPECT_TRUE(b.pairing.receive(out.mickey[1]));
    out.minnie.push_back(b.pairing.take());
    EXPECT_TRUE(a.pairing.receive(out.minnie[1]));
    a.pairing.confirm(a.identity);
    b.pairing.confirm(b.identity);
    out.mickey.push_back(a.pairing.take());
    out.minnie.push_back(b.pairing.take());
    return out;
}

// Feeds the messages to a side whose person says yes as soon as there is a code.
Result<void> feed(Side& side, const std::vector<Message>& messages) {
    for (const Message& message : messages) {
        if (auto ok = side.pairing.receive(message); !ok)
            return ok;
        side.pairing.confirm(side.identity);
    }
    return {};
}

TEST(Pairing, GivesBothSidesOneCodeAndTheKeysOfTheOther) {
    auto a = test::mickey(), b = test::minnie();
    EXPECT_FALSE(a.pairing.code() || b.pairing.code());
    ASSERT_TRUE(test::talk(a.pairing, b.pairing));
    ASSERT_TRUE(a.pairing.code() && b.pairing.code());
    EXPECT_EQ(*a.pairing.code(), *b.pairing.code());
    EXPECT_EQ(a.pairing.code()->size(), 9u);
    EXPECT_EQ((*a.pairing.code())[4], ' ');
    EXPECT_EQ(a.pairing.peer()->keys.front().key, b.identity.key);
    EXPECT_EQ(b.pairing.peer()->keys.front().key, a.identity.key);

    a.pairing.confirm(a.identity);
    ASSERT_TRUE(test::talk(a.pairing, b.pairing));
    EXPECT_FALSE(a.pairing.agreed());
    EXPECT_FALSE(b.pairing.agreed()) << "one yes is not two";
    b.pairing.confirm(b.identity);
    ASSERT_TRUE(test::talk(a.pairing, b.pairing));
    ASSERT_TRUE(a.pairing.agreed() && b.pairing.agreed());
    EXPECT_EQ(a.pairing.agreed()->keys.front().key, b.identity.key);
}

TEST(Pairing, StaysAsItIsOnTheWire) {
    auto a = test::mickey(), b = test::minnie();
    ASSERT_TRUE(test::talk(a.pairing, b.pairing));
    EXPECT_EQ(*a.pairing.code(), "6886 6512");
}

TEST(Pairing, HasAnotherCodeInEachRun) {
    std::vector<std::string> codes;
    for (std::uint8_t nonce = 1; nonce < 50; nonce++) {
        auto a = test::mickey(nonce), b = test::minnie(nonce);
        ASSERT_TRUE(test::talk(a.pairing, b.pairing));
        codes.push_back(*a.pairing.code());
    }
    std::ranges::sort(codes);
    EXPECT_EQ(std::ranges::adjacent_find(codes), codes.end());
    EXPECT_NE(test::mickey(3).pairing.take(), test::mickey(4).pairing.take());
    // By itself it takes a nonce that is used only once.
    const auto make = [] {
        return Pairing(Pairing::Role::connector, write_public(fixed_identity("mickey", 11)),
                       "minnie", {});
    };
    EXPECT_NE(make().take(), make().take());
}

TEST(Pairing, TakesMessagesInPiecesOfAnySize) {
    const Script all = script();
    auto a = test::mickey();
    for (const Message& message : all.minnie) {
        for (const std::uint8_t byte : message)
            ASSERT_TRUE(a.pairing.receive({&byte, 1}));
        a.pairing.confirm(a.identity);
    }
    EXPECT_TRUE(a.pairing.agreed());
    auto b = test::minnie();
    ASSERT_TRUE(b.pairing.receive(joined(all.mickey[0], all.mickey[1])));
    b.pairing.confirm(b.identity);
    ASSERT_TRUE(b.pairing.receive(all.mickey[2]));
    EXPECT_TRUE(b.pairing.agreed());
}

TEST(Pairing, RefusesEveryMessageWithOneBitChanged) {
    const Script all = script();
    for (const bool listens : {false, true}) {
        const auto& good = listens ? all.mickey : all.minnie;
        for (std::size_t which = 0; which < good.size(); which++)
            for (std::size_t at = 0; at < good[which].size(); at++)
                for (unsigned bit = 0; bit < 8; bit += which == 1 ? 7 : 2) {
                    auto changed = good;
                    changed[which][at] ^= static_cast<std::uint8_t>(1u << bit);
                    auto side = listens ? test::minnie() : test::mickey();
                    const auto result = feed(side, changed);
                    // It is refused, or (a size that has grown) waits for the rest.
                    EXPECT_FALSE(side.pairing.agreed())
                        << listens << " message " << which << " byte " << at << " bit " << bit;
                    EXPECT_TRUE(!result || which == good.size() - 1 || at < Pairing::kHeader)
                        << listens << " message " << which << " byte " << at << " bit " << bit;
                }
    }
}

TEST(Pairing, IsNotDoneWithAMessageThatIsCutShort) {
    const Script all = script();
    for (const bool listens : {false, true}) {
        Message whole;
        for (const Message& message : listens ? all.mickey : all.minnie)
            whole = joined(std::move(whole), message);
        for (std::size_t size = 0; size <= whole.size(); size++) {
            auto side = listens ? test::minnie() : test::mickey();
            const std::size_t last = whole.size() - Pairing::kHeader - Pairing::kSignature;
            ASSERT_TRUE(side.pairing.receive(Bytes(whole).first(std::min(size, last))));
            side.pairing.confirm(side.identity);
            if (size > last) {
                ASSERT_TRUE(side.pairing.receive(Bytes(whole).subspan(last, size - last)));
            }
            EXPECT_EQ(side.pairing.agreed() != nullptr, size == whole.size()) << size;
        }
    }
}

TEST(Pairing, NamesForeignAndFutureMessages) {
    const auto answer = [](const Message& message) {
        auto side = test::mickey();
        side.pairing.take();
        const auto result = side.pairing.receive(message);
        return std::pair(why(result), side.pairing.take());
    };
    const auto malformed = refusal(Pairing::Refusal::message);
    for (const std::string_view text : {"GET / HTTP/1.1\r\n", "S", "ESPAIX", "\x16\x03\x01"})
        EXPECT_EQ(answer({text.begin(), text.end()}),
                  std::pair(std::string("it sends something else than a pairing"), malformed))
            << text;
    EXPECT_EQ(answer(frame(1, Message(32), 2)),
              std::pair(std::string("it speaks version 2 of the pairing, and this encsync version "
                                    "1: install one release on both"),
                        refusal(Pairing::Refusal::version)));
    EXPECT_EQ(answer(frame(9, {})).first, "it sends a message of the unknown kind 9");
    EXPECT_EQ(answer(frame(1, Message(31))).first, "its commitment has 31 bytes instead of 32");
    EXPECT_EQ(answer(frame(2, Message(32))).first,
              "what it reveals has 32 bytes, and may have 33 to 4128");
    EXPECT_EQ(answer(frame(2, Message(4129))).first,
              "what it reveals has 4129 bytes, and may have 33 to 4128");
    EXPECT_EQ(answer(frame(3, Message(65))).first, "its confirmation has 65 bytes instead of 64");
    EXPECT_EQ(answer(frame(4, {})).first, "its refusal has 0 bytes instead of 1");
}

TEST(Pairing, NamesMessagesOutOfTurn) {
    const Script all = script();
    const auto& [commit, reveal, confirm] = std::tie(all.minnie[0], all.minnie[1], all.minnie[2]);
    const auto answer = [](const std::vector<Message>& messages) {
        auto side = test::mickey();
        return why(feed(side, messages));
    };
    EXPECT_EQ(answer({reveal}), "it reveals what it has not committed itself to");
    EXPECT_EQ(answer({commit, commit}), "it commits itself a second time");
    EXPECT_EQ(answer({commit, reveal, reveal}), "it reveals its keys a second time");
    EXPECT_EQ(answer({commit, confirm}), "it confirms a code that there is not");
    EXPECT_EQ(answer({commit, reveal, confirm, confirm}), "it confirms a second time");
    EXPECT_EQ(answer({commit, reveal, frame(4, {5}), confirm}), "the answer at minnie was not yes");
}

TEST(Pairing, IsOverAfterAnError) {
    const Script all = script();
    auto side = test::mickey();
    ASSERT_FALSE(side.pairing.receive(frame(9, {})));
    side.pairing.take();
    EXPECT_EQ(why(side.pairing.receive(all.minnie[0])), "it goes on after the end of the pairing");
    side.pairing.confirm(side.identity);
    side.pairing.decline();
    EXPECT_TRUE(side.pairing.take().empty());
}

TEST(Pairing, TellsTheOtherSideWhy) {
    using Refusal = Pairing::Refusal;
    for (const auto& [reason, text] :
         {std::pair{Refusal::message, "minnie could not read what it got"},
          {Refusal::version, "minnie speaks another version of the pairing"},
          {Refusal::name, "minnie expects another name than that of this node"},
          {Refusal::key, "minnie cannot trust the key of this node"},
          {Refusal::declined, "the answer at minnie was not yes"},
          {static_cast<Refusal>(77), "minnie has ended the pairing, for the unknown reason 77"}}) {
        auto side = test::mickey();
        EXPECT_TRUE(why(side.pairing.receive(refusal(reason))).starts_with(text)) << text;
        side.pairing.take();
    }
    auto a = test::mickey(), b = test::minnie();
    ASSERT_TRUE(test::talk(a.pairing, b.pairing));
    a.pairing.confirm(a.identity);
    b.pairing.decline();
    EXPECT_EQ(why(a.pairing.receive(b.pairing.take())), "the answer at minnie was not yes");
    EXPECT_FALSE(a.pairing.agreed());
    b.pairing.confirm(b.identity); // too late
    EXPECT_FALSE(b.pairing.agreed());
}

// ---- somebody in the middle ------------------------------------------------------------------

TEST(Pairing, RevealsNothingBeforeTheOtherIsCommitted) {
    const Script all = script();
    auto a = test::mickey(), b = test::minnie();
    for (Side* side : {&a, &b}) {
        EXPECT_EQ(side->pairing.take().size(), Pairing::kHeader + Pairing::kCommitment);
        EXPECT_FALSE(side->pairing.opened());
    }
    // The listener waits until the connector has revealed: a stranger gets nothing from it.
    ASSERT_TRUE(b.pairing.receive(all.mickey[0]));
    EXPECT_TRUE(b.pairing.take().empty());
    EXPECT_FALSE(b.pairing.opened());
    ASSERT_TRUE(b.pairing.receive(all.mickey[1]));
    EXPECT_FALSE(b.pairing.take().empty());
    EXPECT_TRUE(b.pairing.opened());
    ASSERT_TRUE(a.pairing.receive(all.minnie[0]));
    EXPECT_FALSE(a.pairing.take().empty());
    EXPECT_TRUE(a.pairing.opened());
}

TEST(Pairing, ShowsDifferentCodesIfSomebodyIsInTheMiddle) {
    auto a = test::mickey(), b = test::minnie();
    // mallory is "minnie" for mickey, and "mickey" for minnie.
    Side to_a(Pairing::Role::listener, fixed_identity("minnie", 66), "mickey", 3);
    Side to_b(Pairing::Role::connector, fixed_identity("mickey", 66), "minnie", 4);
    ASSERT_TRUE(test::talk(a.pairing, to_a.pairing));
    ASSERT_TRUE(test::talk(to_b.pairing, b.pairing));
    EXPECT_EQ(*a.pairing.code(), *to_a.pairing.code());
    EXPECT_NE(*a.pairing.code(), *b.pairing.code());
}

TEST(Pairing, RefusesKeysOrANonceThatWereExchangedAfterTheCommitment) {
    const Script all = script();
    const std::string other = write_public(fixed_identity("minnie", 66));
    for (const bool nonce : {false, true}) {
        auto side = test::mickey();
        Message body(all.minnie[1].begin() + Pairing::kHeader, all.minnie[1].end());
        if (nonce)
            body[0] ^= 1;
        else
            std::ranges::copy(other, body.begin() + 32);
        ASSERT_TRUE(side.pairing.receive(all.minnie[0]));
        side.pairing.take();
        EXPECT_EQ(why(side.pairing.receive(frame(2, body))),
                  "it reveals something else than it has committed itself to");
        EXPECT_EQ(side.pairing.take(), refusal(Pairing::Refusal::message));
        EXPECT_FALSE(side.pairing.code());
    }
}

TEST(Pairing, RefusesItsOwnMessages) {
    const Script all = script();
    for (const bool listens : {false, true}) {
        auto side = listens ? test::minnie() : test::mickey();
        EXPECT_EQ(why(feed(side, listens ? all.minnie : all.mickey)),
                  "it reveals something else than it has committed itself to");
    }
    // The public file is known to all, so somebody can commit himself to it in the other role.
    auto side = test::mickey();
    Side mirror(Pairing::Role::listener, fixed_identity("mickey", 11), "mickey", 5);
    EXPECT_EQ(why(test::talk(side.pairing, mirror.pairing)), "it shows this node's own key");
    // With the role of the same side the hash is another one.
    auto same = test::mickey();
    Side twin(Pairing::Role::connector, fixed_identity("minnie", 22), "mickey", 5);
    EXPECT_EQ(why(test::talk(same.pairing, twin.pairing)),
              "it reveals something else than it has committed itself to");
}

TEST(Pairing, RefusesAConfirmationOfAnotherKeyRunOrRole) {
    const Script all = script();
    constexpr const char* kWrong = "its confirmation is not signed with its key, or not for this "
                                   "pairing";
    // Of an earlier run, in which minnie had another nonce: a replay.
    const Script earlier = script(1, 9);
    auto side = test::mickey();
    EXPECT_EQ(why(feed(side, {all.minnie[0], all.minnie[1], earlier.minnie[2]})), kWrong);
    // A whole run again: mickey's nonce is a fresh one.
    auto again = test::mickey(7);
    EXPECT_EQ(why(feed(again, all.minnie)), kWrong);
    // mickey's own.
    auto mirrored = test::mickey();
    EXPECT_EQ(why(feed(mirrored, {all.minnie[0], all.minnie[1], all.mickey[2]})), kWrong);
    // By another key: mallory has shown minnie's public file, which is no secret, and nothing else.
    auto a = test::mickey();
    Side mallory(Pairing::Role::listener, fixed_identity("minnie", 22), "mickey", 3);
    ASSERT_TRUE(test::talk(a.pairing, mallory.pairing));
    a.pairing.confirm(a.identity);
    mallory.pairing.confirm(fixed_identity("minnie", 66));
    EXPECT_EQ(why(test::talk(a.pairing, mallory.pairing)), kWrong);
    EXPECT_FALSE(a.pairing.agreed());
}

// ---- peers that do not fit -------------------------------------------------------------------

TEST(Pairing, RefusesAnotherName) {
    auto a = test::mickey();
    Side donald(Pairing::Role::listener, fixed_identity("donald", 33), "mickey", 3);
    EXPECT_EQ(why(test::talk(a.pairing, donald.pairing)),
              "it is 'donald', and the conn expects 'minnie': write rightid=donald into the conn, "
              "or node=minnie there");
    EXPECT_FALSE(a.pairing.code());
    EXPECT_EQ(why(donald.pairing.receive(a.pairing.take())),
              "mickey expects another name than that of this node: write it as rightid into the "
              "conn there");
}

TEST(Pairing, RefusesKeysThatTheStoreDoesNotTake) {
    const auto no = [](const PublicFile& file) {
        return Result<void>(Error{fmt::format("no room for {}", file.keys.front().name)});
    };
    auto a = test::mickey();
    Side b(Pairing::Role::listener, fixed_identity("minnie", 22), "mickey", 2, no);
    EXPECT_EQ(why(test::talk(a.pairing, b.pairing)), "its key: no room for mickey");
    EXPECT_FALSE(b.pairing.code());
    EXPECT_TRUE(b.pairing.opened());
    EXPECT_EQ(why(a.pairing.receive(b.pairing.take())),
              "minnie cannot trust the key of this node; its screen says why");
    EXPECT_FALSE(a.pairing.code());
}

TEST(Pairing, RefusesAPublicFileThatIsNone) {
    for (const auto& [file, text] :
         {std::pair<std::string, const char*>{"nothing", "its public file: "},
          {write_public(fixed_identity("minnie", 22)) + "more\n", "its public file: "}}) {
        auto a = test::mickey();
        Pairing liar(Pairing::Role::listener, file, "mickey",
                     [](const PublicFile&) { return Result<void>(); });
        EXPECT_TRUE(why(test::talk(a.pairing, liar)).starts_with(text));
        EXPECT_FALSE(a.pairing.peer());
    }
}

TEST(Pairing, CarriesBothKeysAndTheSuccessionsOfARotation) {
    const Identity old = fixed_identity("minnie", 22), next = fixed_identity("minnie", 23);
    const std::string file = write_public(old) + write_public(next) +
                             write_successions({make_succession(old, next.key)});
    auto a = test::mickey();
    Pairing b(Pairing::Role::listener, file, "mickey",
              [](const PublicFile&) { return Result<void>(); });
    ASSERT_TRUE(test::talk(a.pairing, b));
    EXPECT_EQ(a.pairing.peer()->keys.size(), 2u);
    EXPECT_TRUE(succeeds(a.pairing.peer()->successions, old.key, next.key));
    b.confirm(old);
    a.pairing.confirm(a.identity);
    ASSERT_TRUE(test::talk(a.pairing, b));
    EXPECT_TRUE(a.pairing.agreed());
}

} // namespace
} // namespace encsync::keys
