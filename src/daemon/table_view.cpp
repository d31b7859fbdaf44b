// SPDX-License-Identifier: ISC
#include "daemon/table_view.hpp"

#include <string_view>

namespace encsync::daemon {

void add(boost::json::object& out, const table::Counters& counters) {
    for (const auto& [path, count] : counters) {
        boost::json::object* in = &out;
        std::string_view name = path;
        for (auto dot = name.find('.'); dot != name.npos; dot = name.find('.')) {
            auto& group = (*in)[name.substr(0, dot)];
            if (!group.is_object())
                group.emplace_object();
            in = &group.get_object();
            name.remove_prefix(dot + 1);
        }
        (*in)[name] = count;
    }
}

} // namespace encsync::daemon
