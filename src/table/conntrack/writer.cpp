// SPDX-License-Identifier: ISC
#include "table/conntrack/writer.hpp"

#include "table/conntrack/ctnetlink_build.hpp"
#include "table/conntrack/netlink.hpp"
#include "util/log.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <linux/netfilter/nfnetlink.h>
#include <utility>

namespace encsync::table {

namespace {

// The kernel processes a batch while the loop waits: 256 requests take about half a millisecond.
constexpr std::size_t kBatch = 256;
// If the answers to a batch were lost it is sent again in pieces whose answers certainly fit.
constexpr std::size_t kSmallBatch = 16;
// The longest sequence for one operation: rearm, create, without its helper, look, look by reply,
// the last three again, replace, without labels, and once more because of lost answers.
constexpr int kMaxRounds = 12;
constexpr std::size_t kMaxMissing = 100; // names that are logged

// Which no update can change.
bool same_reply(const state::Flow& a, const state::Flow& b) {
    return a.reply == b.reply && a.extras.reply_zone == b.extras.reply_zone;
}

} // namespace

Writer::Writer(Transport& transport, Hints& hints, Answer answer)
    : transport_(transport), hints_(hints), answer_(std::move(answer)),
      // Replacing takes two requests.
      buffer_(2 * kBatch * ctnetlink::kMaxRequest), batch_limit_(kBatch) {}

Refusal Writer::refusal_of(int error) {
    switch (error) {
    case ENOMEM: // nf_conntrack: table full
    case ENFILE:
    case ENOSPC: // its hash chain is too long
        return Refusal::table_full;
    case EEXIST:
        return Refusal::clash;
    case EINVAL:
    case ERANGE:
    case EOPNOTSUPP:
    case EPROTONOSUPPORT:
        return Refusal::invalid;
    default:
        return Refusal::other;
    }
}

void Writer::put(const state::Flow& flow, std::uint32_t timeout) {
    add(flow, timeout, hints_.holds(flow) ? Step::update : Step::create);
    hints_.set(flow);
}

void Writer::refresh(const state::Flow& flow, std::uint32_t timeout) {
    add(flow, timeout, Step::rearm);
}

void Writer::relax(const state::Flow& flow) {
    add(flow, 0, Step::relax);
}

void Writer::remove(const state::Flow& flow) {
    add(flow, 0, Step::remove);
    hints_.forget(flow.key);
}

void Writer::ask(const state::Flow& flow) {
    add(flow, 0, Step::ask);
}

void Writer::add(const state::Flow& flow, std::uint32_t timeout, Step step) {
    pending_.push_back({flow, hints_.hash(flow.key), timeout, step, false});
    if (pending_.size() >= kBatch && !working_)
        work();
}

void Writer::flush(const std::function<void(const Refused&)>& tell) {
    if (working_)
        return; // called from an answer or a refusal: wait for the next flush
    if (!pending_.empty())
        work();
    if (refusals_.empty())
        return;
    // The listener may request the same again, which must not be refused within this call.
    working_ = true;
    for (const Refused& refused : std::exchange(refusals_, {}))
        tell(refused);
    working_ = false;
}

void Writer::work() {
    working_ = true;
    work_.swap(pending_);
    std::vector<std::uint32_t> round(work_.size());
    for (std::uint32_t i = 0; i < round.size(); i++)
        round[i] = i;
    for (int rounds = 0; !round.empty() && rounds < kMaxRounds; rounds++) {
        outcome_.assign(work_.size(), Outcome::done);
        next_.clear();
        for (std::size_t from = 0; from < round.size();)
            from += send_batch(round, from);
        round.swap(next_);
    }
    for (const std::uint32_t i : round)
        refuse(i, Refusal::other, EAGAIN);
    work_.clear();
    batch_limit_ = kBatch;
    working_ = false;
}

std::size_t Writer::send_batch(const std::vector<std::uint32_t>& round, std::size_t from) {
    first_seq_ += static_cast<std::uint32_t>(sent_.size());
    sent_.clear();
    used_ = 0;
    lost_ = false;
    const std::size_t count = std::min(batch_limit_, round.size() - from);
    for (std::size_t i = 0; i < count; i++)
        encode(round[from + i]);
    const int error = transport_.send(Bytes(buffer_).first(used_));
    if (error == 0)
        read_answers();
    // A batch that did not fit into the socket, or whose answers did not, is sent again in small
    // pieces. Every request can be repeated without harm.
    const bool repeat = lost_ || error == ENOBUFS || error == ENOMEM || error == EMSGSIZE;
    if (repeat) {
        counters_.lost_answers++;
        batch_limit_ = kSmallBatch;
    }
    for (std::size_t i = 0; i < count; i++) {
        const std::uint32_t op = round[from + i];
        if (outcome_[op] != Outcome::done)
            continue;
        if (repeat)
            again(op, work_[op].step);
        else if (error != 0)
            refuse(op, Refusal::other, error);
        else if (work_[op].step == Step::look || work_[op].step == Step::look_by_reply)
            refuse(op, Refusal::clash, EEXIST); // no answer
        else
            count_done(work_[op]);
    }
    return count;
}

void Writer::encode(std::uint32_t operation) {
    using ctnetlink::Request;
    const Operation& op = work_[operation];
    const auto write = [&](Request request, bool ignore_error = false) {
        const auto seq = static_cast<std::uint32_t>(first_seq_ + sent_.size());
        sent_.push_back({operation, ignore_error});
        used_ += ctnetlink::build(MutableBytes(buffer_).subspan(used_), request, op.flow,
                                  op.timeout, seq);
    };
    switch (op.step) {
    case Step::create:
        return write(Request::create);
    case Step::update:
        return write(Request::update);
    case Step::update_progress:
        return write(Request::update_progress);
    case Step::look:
        return write(Request::get);
    case Step::look_by_reply:
        return write(Request::get_by_reply);
    case Step::replace:
        write(Request::remove, true);
        return write(Request::create);
    case Step::rearm:
        return write(Request::rearm);
    case Step::relax:
        return write(Request::relax);
    case Step::remove:
        return write(Request::remove);
    case Step::ask:
        return write(Request::get, true);
    }
}

void Writer::read_answers() {
    for (Bytes datagram;;) {
        const int error = transport_.receive(datagram);
        if (error == ENOBUFS) {
            lost_ = true;
            continue;
        }
        if (error != 0)
            return;
        for (netlink::Messages m(datagram); m.next();) {
            const std::uint32_t at = m.header().nlmsg_seq - first_seq_;
            if (at >= sent_.size())
                continue; // not an answer to a request of this batch
            if (m.header().nlmsg_type == NLMSG_ERROR) {
                const Bytes payload = m.payload();
                const int code =
                    payload.size() < sizeof(int) ? EPROTO : -netlink::load<int>(payload.data());
                if (code != 0 && !sent_[at].ignore_error)
                    on_error(sent_[at].operation, code);
            } else if (m.header().nlmsg_type >> 8 == NFNL_SUBSYS_CTNETLINK) {
                ctnetlink::Entry entry;
                const ctnetlink::Fault fault = ctnetlink::parse(m.message(), entry);
                if (fault == ctnetlink::Fault::none)
                    on_entry(sent_[at].operation, entry);
                else
                    counters_.faults[static_cast<std::size_t>(fault)]++;
            }
        }
    }
}

void Writer::on_error(std::uint32_t operation, int error) {
    const Step step = work_[operation].step;
    const bool gone = error == ENOENT || error == ETIME; // ETIME: dying
    if (without_extras(operation, error))
        return;
    switch (step) {
    case Step::create:
        if (error == EEXIST)
            return again(operation, Step::look);
        break;
    case Step::update:
        if (gone)
            return again(operation, Step::create);
        if (error == EBUSY)
            return again(operation, Step::update_progress);
        break;
    case Step::update_progress:
    case Step::rearm:
        if (gone)
            return again(operation, Step::create);
        break;
    case Step::look:
        if (gone) // another entry has our reply tuple
            return again(operation, Step::look_by_reply);
        break;
    case Step::look_by_reply:
        if (gone && !std::exchange(work_[operation].free, true))
            return again(operation, Step::create); // it was removed meanwhile
        return refuse(operation, gone ? Refusal::clash : refusal_of(error), error);
    case Step::relax:
    case Step::remove:
        if (gone) {
            outcome_[operation] = Outcome::settled;
            return;
        }
        break;
    case Step::replace:
        if (error == EEXIST)
            return again(operation, Step::look_by_reply);
        break;
    case Step::ask:
        break;
    }
    refuse(operation, refusal_of(error), error);
}

// If this kernel lacks a feature of the flow, it is created without that.
bool Writer::without_extras(std::uint32_t operation, int error) {
    Operation& op = work_[operation];
    state::Extras& extras = op.flow.extras;
    const bool creates = op.step == Step::create || op.step == Step::replace;
    const bool updates = op.step == Step::update || op.step == Step::update_progress;
    if (creates && !extras.helper.empty() && (error == EOPNOTSUPP || error == EAGAIN)) {
        // EAGAIN: the kernel has loaded the helper's module meanwhile.
        if (error == EOPNOTSUPP) {
            if (missing_helpers_.size() < kMaxMissing &&
                missing_helpers_.insert(extras.helper).second)
                log::warning("conntrack has no helper '{}' here: flows that have it elsewhere are "
                             "copied without it",
                             extras.helper.text());
            counters_.without_helper++;
            extras.helper = {};
        }
    } else if (updates && extras.labels != state::Labels{} && error == ENOSPC) {
        counters_.without_labels++;
        extras.labels = {};
    } else {
        return false;
    }
    again(operation, op.step);
    return true;
}

void Writer::on_entry(std::uint32_t operation, const ctnetlink::Entry& entry) {
    const Operation& op = work_[operation];
    if (op.step == Step::ask) {
        outcome_[operation] = Outcome::settled;
        answer_(entry);
    } else if (op.step == Step::look || op.step == Step::look_by_reply) {
        if (entry.flow.key != op.flow.key)
            refuse(operation, Refusal::clash, EEXIST, &entry.flow);
        else
            again(operation, same_reply(entry.flow, op.flow) ? Step::update : Step::replace);
    }
}

void Writer::again(std::uint32_t operation, Step step) {
    if (superseded(operation)) {
        outcome_[operation] = Outcome::settled;
        return;
    }
    outcome_[operation] = Outcome::again;
    work_[operation].step = step;
    next_.push_back(operation);
}

bool Writer::superseded(std::uint32_t operation) const {
    const Operation& op = work_[operation];
    return std::any_of(work_.begin() + operation + 1, work_.end(), [&](const Operation& later) {
        // Rearm and relax do not contain the state.
        return later.hash == op.hash && later.step != Step::ask && later.step != Step::rearm &&
               later.step != Step::relax && later.flow.key == op.flow.key;
    });
}

void Writer::refuse(std::uint32_t operation, Refusal refusal, int error,
                    const state::Flow* holder) {
    outcome_[operation] = Outcome::settled;
    const Operation& op = work_[operation];
    if (op.step == Step::ask)
        return; // the caller expects no refusal
    hints_.forget(op.flow.key);
    counters_.refused[static_cast<std::size_t>(refusal)]++;
    refusals_.push_back(
        {op.flow.key, refusal, holder != nullptr ? std::optional(*holder) : std::nullopt});
    if (refusal != Refusal::other)
        return;
    const auto now = std::chrono::duration_cast<std::chrono::seconds>(
                         std::chrono::steady_clock::now().time_since_epoch())
                         .count();
    if (now != last_logged_)
        log::warning("conntrack refuses {}: {}", state::to_string(op.flow), std::strerror(error));
    last_logged_ = now;
}

void Writer::count_done(const Operation& op) {
    switch (op.step) {
    case Step::create:
        counters_.created++;
        hints_.set(op.flow);
        break;
    case Step::replace:
        counters_.replaced++;
        break;
    case Step::update:
    case Step::update_progress:
        counters_.updated++;
        break;
    case Step::rearm:
        counters_.refreshed++;
        break;
    case Step::relax:
        counters_.relaxed++;
        break;
    case Step::remove:
        counters_.deleted++;
        break;
    case Step::look:
    case Step::look_by_reply:
    case Step::ask:
        break;
    }
}

} // namespace encsync::table
