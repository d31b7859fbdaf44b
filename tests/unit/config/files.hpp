// SPDX-License-Identifier: ISC
// An Environment whose files are in memory, and whose host is called "mickey".
#pragma once

#include "config/config.hpp"

#include <map>

namespace encsync::config {

class Files final : public Environment {
  public:
    Files() = default;
    explicit Files(std::map<std::string, std::string> files) : files_(std::move(files)) {}

    // A '*' at the end matches any rest; a folder has no meaning here.
    std::vector<std::string> expand(const std::string& pattern, const std::string&) override {
        if (!pattern.ends_with('*'))
            return {pattern};
        std::vector<std::string> found;
        for (const auto& [name, text] : files_)
            if (name.starts_with(pattern.substr(0, pattern.size() - 1)))
                found.push_back(name);
        return found;
    }
    Result<std::string> read(const std::string& path) override {
        const auto found = files_.find(path);
        if (found == files_.end())
            return Error{"No such file or directory"};
        return found->second;
    }
    std::string host_name() override { return host; }

    std::string host = "mickey";

  private:
    std::map<std::string, std::string> files_;
};

inline Loaded parse_text(std::string_view text, std::map<std::string, std::string> files = {}) {
    Files environment(std::move(files));
    return parse(text, "t.conf", environment);
}

// The diagnostics of the text, as they would be shown.
inline std::string rendered(std::string_view text, std::map<std::string, std::string> files = {}) {
    return render(parse_text(text, std::move(files)).diagnostics);
}

} // namespace encsync::config
