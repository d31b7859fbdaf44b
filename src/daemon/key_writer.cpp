// SPDX-License-Identifier: ISC
#include "daemon/key_writer.hpp"

#include "daemon/sandbox.hpp"
#include "keys/store.hpp"
#include "keysync/ppk_request.hpp"
#include "util/fd.hpp"
#include "util/log.hpp"

#include <algorithm>
#include <array>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fmt/format.h>
#include <sodium.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

namespace encsync::daemon {

using keysync::Request;

namespace {

constexpr std::size_t kMaxRequest = keys::kMaxRevokedText + 1;
constexpr std::size_t kMaxAnswer = 4096;
constexpr int kSocket = 3; // in the process, which has no other files of encsyncd's

Error failed(std::string_view what) {
    return Error{fmt::format("the process that writes keys: {}: {}", what, std::strerror(errno))};
}

// ---- in the process ------------------------------------------------------------------------

void send_text(int socket, const std::string& text) {
    // An empty packet would look like the end.
    const std::string answer = "." + text;
    static_cast<void>(::send(socket, answer.data(), answer.size(), MSG_NOSIGNAL));
}

[[noreturn]] void serve(int socket, const std::string& keydir, bool sandbox, pid_t parent,
                        const std::shared_ptr<keys::Unlock>& unlock) {
    if (::dup2(socket, kSocket) < 0 || ::close_range(kSocket + 1, ~0U, 0) != 0)
        ::_exit(1);
    socket = kSocket;
    // They are for encsyncd, with which this process ends.
    for (const int each : {SIGINT, SIGTERM, SIGHUP})
        std::signal(each, SIG_IGN);
    ::prctl(PR_SET_NAME, "encsync-keys");
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent)
        ::_exit(1);
    // While the passphrase of a sealed store is there. What is wrong with it, encsyncd says.
    if (auto store = keys::Store::open(keydir, unlock))
        static_cast<void>(store->identities());
    if (sandbox)
        if (auto confined = confine({.writable = keydir, .network = false}); !confined) {
            send_text(socket, confined.error().text);
            ::_exit(1);
        }
    send_text(socket, {});
    std::array<char, kMaxRequest> buffer;
    for (;;) {
        const ssize_t got = ::recv(socket, buffer.data(), buffer.size(), 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            ::_exit(0);
        const Request request{static_cast<Request::Kind>(buffer[0]),
                              std::string(&buffer[1], static_cast<std::size_t>(got) - 1)};
        const auto done = carry_out(keydir, request, unlock);
        send_text(socket, done ? std::string() : done.error().text);
    }
}

Result<void> only(Result<std::size_t> counted) {
    return counted ? Result<void>() : counted.error();
}

Result<void> trust(keys::Store& store, const std::string& text) {
    auto file = keys::read_public_file(text);
    if (!file)
        return file.error();
    // An administrator may make an unknown name trusted, a peer may not.
    auto trusted = store.trusted();
    if (!trusted)
        return trusted.error();
    const std::string& name = file->keys.front().name;
    if (std::ranges::find(*trusted, name, &keys::TrustedKey::name) == trusted->end())
        return Error{fmt::format("no key of '{}' is trusted", name)};
    return only(store.trust(*file));
}

Result<void> revoke(keys::Store& store, const std::string& text) {
    auto revocations = keys::read_revocations(text);
    if (!revocations)
        return revocations.error();
    Result<void> all;
    for (const keys::Revocation& r : *revocations)
        if (auto done = store.revoke(r); !done)
            all = done.error();
    return all;
}

Result<void> mix_ppk(keys::Store& store, const std::string& text) {
    auto request = keysync::read_mix(text);
    return request ? store.mix_ppk(request->peer, request->base, request->mix) : request.error();
}

// Of two, as the peer has shown that it has the next one.
Result<void> retire_older(keys::Store& store, Request::Kind kind, std::string_view text) {
    const std::size_t blank = text.find(' ');
    std::array<std::uint8_t, 32> shown;
    std::size_t size = 0;
    const char* end = nullptr;
    if (blank == text.npos ||
        sodium_hex2bin(shown.data(), shown.size(), text.data() + blank + 1, text.size() - blank - 1,
                       nullptr, &size, &end) != 0 ||
        size != shown.size() || end != text.data() + text.size())
        return Error{"not a peer and the hash of what is next with it"};
    const std::string peer(text.substr(0, blank));
    return kind == Request::Kind::retire_psk
               ? store.retire_psk(peer, &shown)
               : store.retire_certificate(peer, keys::CertificateUse::own, false, &shown);
}

Result<void> offer_ppk(keys::Store& store, const std::string& text) {
    auto request = keysync::read_offer(text);
    return request ? store.offer_ppk(request->peer, request->id) : request.error();
}

} // namespace

Result<void> carry_out(const std::string& keydir, const Request& request,
                       std::shared_ptr<keys::Unlock> unlock) {
    auto store = keys::Store::open(keydir, std::move(unlock));
    if (!store)
        return store.error();
    switch (request.kind) {
    case Request::Kind::trust:
        return trust(*store, request.text);
    case Request::Kind::revoke:
        return revoke(*store, request.text);
    case Request::Kind::rotate:
        return store->rotate_identity();
    case Request::Kind::retire:
        return store->retire();
    case Request::Kind::retire_peer:
        return store->retire_peer(request.text);
    case Request::Kind::mix_ppk:
        return mix_ppk(*store, request.text);
    case Request::Kind::offer_ppk:
        return offer_ppk(*store, request.text);
    case Request::Kind::settle_ppk:
        return store->settle_ppk(request.text);
    case Request::Kind::retire_psk:
    case Request::Kind::retire_certificate:
        return retire_older(*store, request.kind, request.text);
    }
    return Error{"not a request of encsyncd's"};
}

// ---- in encsyncd ---------------------------------------------------------------------------

Result<std::unique_ptr<KeyWriter>> KeyWriter::open(boost::asio::io_context& io,
                                                   const std::string& keydir, bool sandbox,
                                                   std::shared_ptr<keys::Unlock> unlock) {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
        return failed("socketpair");
    Fd ours(ends[0]), theirs(ends[1]);
    const pid_t parent = ::getpid();
    const pid_t pid = ::fork();
    if (pid < 0)
        return failed("fork");
    if (pid == 0)
        serve(theirs.get(), keydir, sandbox, parent, unlock);
    theirs.reset();
    std::unique_ptr<KeyWriter> writer(new KeyWriter(io, pid, ours.release()));
    if (const std::string error = writer->read_answer(0); !error.empty())
        return Error{error};
    writer->wait();
    return writer;
}

KeyWriter::KeyWriter(boost::asio::io_context& io, pid_t pid, int socket)
    : io_(io), pid_(pid), socket_(io, socket) {}

KeyWriter::~KeyWriter() {
    socket_.close();
    // It finishes what it is writing.
    while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
}

// Empty: it has done what it was asked for.
std::string KeyWriter::read_answer(int flags) {
    std::array<char, kMaxAnswer> text;
    const ssize_t got = ::recv(socket_.native_handle(), text.data(), text.size(), flags);
    if (got > 0)
        return {&text[1], static_cast<std::size_t>(got) - 1};
    socket_.close();
    return "the process that writes keys has ended: until encsyncd is restarted, peers can change "
           "none";
}

void KeyWriter::wait() {
    socket_.async_wait(boost::asio::posix::stream_descriptor::wait_read, [this](const auto& error) {
        if (error)
            return;
        const std::string text = read_answer(MSG_DONTWAIT);
        if (socket_.is_open())
            wait();
        if (auto done = std::exchange(done_, nullptr))
            done(text);
        else if (!text.empty())
            log::error("{}", text);
    });
}

void KeyWriter::ask(const Request& request, std::function<void(const std::string&)> done) {
    std::string packet(1, static_cast<char>(request.kind));
    packet += request.text;
    const bool sent = socket_.is_open() && packet.size() <= kMaxRequest &&
                      ::send(socket_.native_handle(), packet.data(), packet.size(),
                             MSG_NOSIGNAL | MSG_DONTWAIT) >= 0;
    if (sent)
        done_ = std::move(done);
    else
        boost::asio::post(io_, [done = std::move(done)] {
            done("the process that writes keys does not take a request");
        });
}

} // namespace encsync::daemon
