// SPDX-License-Identifier: ISC
#include "sync/hello.hpp"

#include "pfsync/extension.hpp"

#include <algorithm>

namespace encsync::sync {

namespace hello = pfsync::extension::hello;

std::size_t HelloTail::hello_size() const {
    return hello::nodes + neighbours.size() * hello::node::size + trusted.size() * hello::key_size;
}

void HelloTail::write(std::uint8_t* m) const {
    m[hello::count] = static_cast<std::uint8_t>(neighbours.size());
    m[hello::keys] = static_cast<std::uint8_t>(trusted.size());
    m += hello::nodes;
    for (const Neighbour& node : neighbours) {
        store_be(m + hello::node::creatorid, node.creatorid);
        m[hello::node::role] = static_cast<std::uint8_t>(node.role);
        m[hello::node::flags] = node.owns ? hello::node::kOwns : 0;
        std::ranges::copy(node.name, m + hello::node::name);
        m += hello::node::size;
    }
    for (const KeyPrint key : trusted) {
        store_be(m, key);
        m += hello::key_size;
    }
}

std::optional<HelloTail> HelloTail::read(Bytes m) {
    HelloTail out;
    if (m.size() < hello::nodes) // of a node that does not send them
        return out;
    const std::size_t count = m[hello::count], keys = m[hello::keys];
    const std::size_t keys_at = hello::nodes + count * hello::node::size;
    if (count > hello::max_nodes || keys > hello::max_keys ||
        m.size() < keys_at + keys * hello::key_size)
        return std::nullopt;
    for (std::size_t n = 0; n < count; n++) {
        const std::uint8_t* at = &m[hello::nodes + n * hello::node::size];
        const auto creatorid = load_be<std::uint32_t>(at + hello::node::creatorid);
        const auto name = NeighbourName::read(at + hello::node::name);
        const std::uint8_t role = at[hello::node::role];
        if (creatorid == 0 || role > 2 || !name)
            return std::nullopt;
        out.neighbours.push_back({creatorid, static_cast<Role>(role),
                                  (at[hello::node::flags] & hello::node::kOwns) != 0,
                                  std::string(name->text())});
    }
    for (std::size_t n = 0; n < keys; n++)
        out.trusted.push_back(load_be<KeyPrint>(&m[keys_at + n * hello::key_size]));
    return out;
}

void Hello::write(std::uint8_t* m) const {
    const TcpTracking judges = tracking.value_or(TcpTracking{});
    store_be(m + hello::session, session);
    store_be(m + hello::peer_session, peer_session);
    store_be(m + hello::creatorid, creatorid);
    store_be(m + hello::version, version);
    m[hello::role] = static_cast<std::uint8_t>(role);
    m[hello::flags] = static_cast<std::uint8_t>(
        (ready ? hello::kReady : 0) | (in_step ? hello::kInStep : 0) |
        (reads_reply_zone ? hello::kReadsReplyZone : 0) | (lost ? hello::kLost : 0) |
        (tracking ? hello::kTracking : 0) | (judges.loose ? hello::kLoose : 0) |
        (judges.liberal ? hello::kLiberal : 0));
    store_be(m + hello::states, states);
    store_be(m + hello::live, live);
    store_be(m + hello::checked,
             checked ? static_cast<std::uint32_t>(checked->count()) : hello::kNever);
    tail.write(m);
}

std::uint16_t Hello::version_of(Bytes m) {
    return load_be<std::uint16_t>(&m[hello::version]);
}

std::optional<Hello> Hello::read(Bytes m) {
    Hello out;
    out.session = load_be<std::uint64_t>(&m[hello::session]);
    out.peer_session = load_be<std::uint64_t>(&m[hello::peer_session]);
    out.creatorid = load_be<std::uint32_t>(&m[hello::creatorid]);
    out.version = version_of(m);
    const std::uint8_t role = m[hello::role], flags = m[hello::flags];
    auto tail = HelloTail::read(m);
    if (out.session == 0 || out.creatorid == 0 || role > 2 || !tail)
        return std::nullopt;
    out.tail = std::move(*tail);
    out.role = static_cast<Role>(role);
    out.ready = (flags & hello::kReady) != 0;
    out.in_step = (flags & hello::kInStep) != 0;
    out.lost = (flags & hello::kLost) != 0;
    out.reads_reply_zone = (flags & hello::kReadsReplyZone) != 0;
    if ((flags & hello::kTracking) != 0)
        out.tracking = {(flags & hello::kLoose) != 0, (flags & hello::kLiberal) != 0};
    out.states = load_be<std::uint64_t>(&m[hello::states]);
    out.live = load_be<std::uint64_t>(&m[hello::live]);
    if (const auto ago = load_be<std::uint32_t>(&m[hello::checked]); ago != hello::kNever)
        out.checked = std::chrono::seconds(ago);
    return out;
}

} // namespace encsync::sync
