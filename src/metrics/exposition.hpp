// SPDX-License-Identifier: ISC
// Metrics as text, for Prometheus and whatever else reads OpenMetrics 1.0 or the older text format
// 0.0.4, in which only the names of counters differ.
//
//     Exposition out;
//     out.add({"peer_up", Type::gauge, "", "Whether the peer is up"}, {{"peer", "minnie"}}, 1);
//     out.text(Format::openmetrics);
//
// Families keep the order in which they came first, and all samples of one are together, as both
// formats ask for.
#pragma once

#include "util/histogram.hpp"

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace encsync::metrics {

enum class Format { openmetrics, prometheus };
std::string_view content_type(Format format); // for HTTP

enum class Type { counter, gauge, histogram };
std::string_view to_string(Type type);

struct Family {
    std::string name; // without "encsync_", and without the "_total" of counters
    Type type = Type::gauge;
    std::string_view unit{}; // said if the name ends in it
    std::string_view help{}; // no full stop at the end
};
// As queries write it: "encsync_peer_rx_bytes_total".
std::string sample_name(const Family& family);

struct Label {
    std::string_view name, value;
};
using Labels = std::initializer_list<Label>;

class Exposition {
  public:
    void add(const Family& family, Labels labels, std::uint64_t value);
    void add(const Family& family, Labels labels, double value);
    void add(const Family& family, Labels labels, const Histogram& histogram); // in seconds

    std::string text(Format format) const;

  private:
    struct Block {
        Type type;
        std::string_view unit, help;
        std::string samples;
    };
    std::string& samples_of(const Family& family);
    void sample(const Family& family, std::string_view suffix, Labels labels, const Label* last,
                std::string_view value);

    std::map<std::string, std::size_t, std::less<>> places_;
    std::vector<std::pair<std::string, Block>> blocks_;
};

} // namespace encsync::metrics
