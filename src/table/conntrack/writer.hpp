// SPDX-License-Identifier: ISC
// Performs operations in the kernel, many per system call, and handles errors.
//
//     writer.put(flow, 600);
//     writer.flush();               // one sendmsg a batch; reports refusals
//
// Requests ask for no acknowledgement: the kernel processes a batch before sendmsg returns, and
// only errors come back. What an error means depends on the request, so the operations of a
// batch are kept until its errors are read:
//
//     put      known to exist:     update -> ENOENT: create
//                                         -> EBUSY: update without status
//              otherwise:          create -> EEXIST: query the existing entry
//                                              same NAT: update; other NAT: delete and create
//                                              none with that original tuple: query by the reply
//                                                  none: create once more
//                                                  another: refused as a clash with that
//     a helper that is missing:    the same without it; likewise labels that nothing here uses
//     refresh                      rearm  -> ENOENT: create
//     relax                        ENOENT: ignored
//     remove                       ENOENT is success
//     table full                   refused as table_full, not retried
//
// The second request is dropped if a later operation of the batch is about the same flow: that one
// has been performed already and is the newest.
#pragma once

#include "table/conntrack/ctnetlink_parse.hpp"
#include "table/conntrack/hints.hpp"
#include "table/table.hpp"
#include "util/bytes.hpp"
#include "util/counters.hpp"

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <vector>

namespace encsync::table {

// Sends a batch to the kernel; tests replace it.
class Transport {
  public:
    virtual ~Transport() = default;
    // The whole batch or nothing: 0 or errno.
    virtual int send(Bytes batch) = 0;
    // One datagram of answers, valid until the next call. 0; EAGAIN: no more; ENOBUFS: answers
    // were lost.
    virtual int receive(Bytes& datagram) = 0;
};

struct WriterCounters {
    std::uint64_t created = 0, updated = 0, refreshed = 0, relaxed = 0, deleted = 0;
    std::uint64_t replaced = 0; // deleted and created, as NAT cannot be changed
    std::uint64_t without_helper = 0, without_labels = 0; // created or updated without them
    std::uint64_t lost_answers = 0; // batches repeated, as some of their errors were lost
    std::array<std::uint64_t, kRefusals> refused{};
    std::array<std::uint64_t, ctnetlink::kFaults> faults{}; // answers that could not be read
};
inline constexpr std::array kWriterCounters = {
    counters::value<&WriterCounters::created>("table", "created", "entries",
                                              "Entries of conntrack created"),
    counters::value<&WriterCounters::updated>("table", "updated", "entries",
                                              "Entries of conntrack updated"),
    counters::value<&WriterCounters::refreshed>("", "entries_refreshed", "entries",
                                                "Entries of conntrack whose timer was set"),
    counters::value<&WriterCounters::relaxed>("", "entries_relaxed", "entries",
                                              "Entries of conntrack made liberal"),
    counters::value<&WriterCounters::replaced>(
        "table", "replaced", "entries", "Entries deleted and created, as NAT cannot be changed"),
    counters::value<&WriterCounters::deleted>("table", "deleted", "entries",
                                              "Entries of conntrack deleted"),
    counters::value<&WriterCounters::lost_answers>(
        "table", "lost_answers", "batches", "Batches done again as some of their errors were lost"),
    counters::value<&WriterCounters::without_helper>("table", "without_helper", "entries",
                                                     "Entries written without their helper"),
    counters::value<&WriterCounters::without_labels>("table", "without_labels", "entries",
                                                     "Entries written without their labels"),
    counters::by<&WriterCounters::refused, Refusal>("", "entries_refused", "entries",
                                                    "Entries that the kernel refused", "reason",
                                                    counters::Shape::object, true),
    counters::by<&WriterCounters::faults, ctnetlink::Fault>(
        "table", "answer_faults", "messages", "Answers of ctnetlink that could not be read",
        "fault", counters::Shape::object, true, 1),
};

class Writer {
  public:
    struct Refused {
        state::Key key;
        Refusal refusal;
        std::optional<state::Flow> holder; // of a clash: the conflicting entry
    };
    // Answers to ask(), complete and not filtered.
    using Answer = std::function<void(const ctnetlink::Entry&)>;

    Writer(Transport& transport, Hints& hints, Answer answer);

    void put(const state::Flow& flow, std::uint32_t timeout);
    void refresh(const state::Flow& flow, std::uint32_t timeout);
    void relax(const state::Flow& flow);
    void remove(const state::Flow& flow);
    // Queries the whole entry of this key.
    void ask(const state::Flow& flow);

    // Performs queued operations, then reports the refused ones. Operations queued meanwhile wait
    // for the next flush.
    void flush(const std::function<void(const Refused&)>& tell);
    bool empty() const { return pending_.empty() && refusals_.empty(); }
    const WriterCounters& counters() const { return counters_; }

    // The meaning of an errno that the operation does not handle.
    static Refusal refusal_of(int error);

  private:
    enum class Step : std::uint8_t {
        create,
        update,
        update_progress,
        look,
        look_by_reply,
        replace,
        rearm,
        relax,
        remove,
        ask,
    };
    struct Operation {
        state::Flow flow;
        std::uint64_t hash = 0; // of its key
        std::uint32_t timeout = 0;
        Step step = Step::create;
        bool free = false; // no entry had its reply tuple at the last query
    };
    enum class Outcome : std::uint8_t { done, again, settled };
    struct Sent {                    // by sequence number - first_seq_
        std::uint32_t operation = 0; // index into work_
        bool ignore_error = false;
    };

    void add(const state::Flow& flow, std::uint32_t timeout, Step step);
    void work();
    std::size_t send_batch(const std::vector<std::uint32_t>& round, std::size_t from);
    void encode(std::uint32_t operation);
    void read_answers();
    void on_error(std::uint32_t operation, int error);
    void on_entry(std::uint32_t operation, const ctnetlink::Entry& entry);
    void again(std::uint32_t operation, Step step);
    bool without_extras(std::uint32_t operation, int error);
    void refuse(std::uint32_t operation, Refusal refusal, int error,
                const state::Flow* holder = nullptr);
    void count_done(const Operation& op);
    bool superseded(std::uint32_t operation) const;

    Transport& transport_;
    Hints& hints_;
    Answer answer_;
    WriterCounters counters_;

    std::vector<Operation> pending_, work_;
    std::vector<Outcome> outcome_;    // of work_, in the running round
    std::vector<std::uint32_t> next_; // of work_, for the next round
    std::vector<Refused> refusals_;
    std::vector<Sent> sent_;
    std::vector<std::uint8_t> buffer_;
    std::size_t used_ = 0;
    std::size_t batch_limit_;
    std::uint32_t first_seq_ = 1;
    bool lost_ = false;
    bool working_ = false;
    std::int64_t last_logged_ = 0;          // seconds
    std::set<state::Name> missing_helpers_; // that were logged
};

} // namespace encsync::table
