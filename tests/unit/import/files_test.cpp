// SPDX-License-Identifier: ISC
// The files under files/: NAME.conf with NAME.want, what is written and noted, and NAME.bad, a
// broken copy, with NAME.bad.want, why it is refused. A .want may begin with "--left ADDRESS".
#include "read.hpp"

#include <filesystem>
#include <fstream>
#include <iterator>

namespace encsync::importer {
namespace {

namespace fs = std::filesystem;

std::string slurp(const fs::path& path) {
    std::ifstream in(path, std::ios::binary);
    EXPECT_TRUE(in.good()) << path;
    return {std::istreambuf_iterator<char>(in), {}};
}

class Files : public testing::TestWithParam<const char*> {
  protected:
    std::vector<fs::path> all(const std::string& extension) const {
        std::vector<fs::path> out;
        for (const auto& each : fs::directory_iterator(fs::path(ENCSYNC_IMPORT_FILES) / GetParam()))
            if (each.path().extension() == extension)
                out.push_back(each.path());
        EXPECT_EQ(out.size(), 20u);
        return out;
    }
};

TEST_P(Files, AreCarriedAndNoted) {
    constexpr std::string_view kLeft = "--left ";
    for (const fs::path& path : all(".conf")) {
        SCOPED_TRACE(path);
        std::string want = slurp(fs::path(path).replace_extension(".want"));
        std::vector<std::string> lefts;
        while (want.starts_with(kLeft)) {
            const std::size_t end = want.find('\n');
            lefts.push_back(want.substr(kLeft.size(), end - kLeft.size()));
            want.erase(0, end + 1);
        }
        const Imported got = read_text(slurp(path), {}, lefts, path.filename());
        EXPECT_EQ(got.error, "");
        EXPECT_EQ(got.config + "---- notes\n" + got.notes, want);
        EXPECT_EQ(got.config.find("tell-nobody") + got.notes.find("tell-nobody"),
                  2 * std::string::npos);
        expect_loads(got);
    }
}

TEST_P(Files, AreRefusedIfBroken) {
    for (const fs::path& path : all(".bad")) {
        SCOPED_TRACE(path);
        const std::string text = slurp(path), name = path.filename();
        std::optional<Format> format = detect(name, text);
        if (!format)
            format = format_named(GetParam());
        const Imported got = read_text(text, format, {}, name);
        EXPECT_EQ(got.error + "\n", slurp(path.string() + ".want"));
    }
}

INSTANTIATE_TEST_SUITE_P(Import, Files,
                         testing::Values("openbsd", "freebsd", "config_xml", "conntrackd"));

} // namespace
} // namespace encsync::importer
