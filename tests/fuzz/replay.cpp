// SPDX-License-Identifier: ISC
// Replaces libFuzzer where a target is built as a plain test: runs it on every file of its seed
// corpus, whole and truncated at every byte. An empty corpus fails: it tests nothing.
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

int main(int argc, char** argv) {
    std::size_t files = 0, inputs = 0;
    for (int i = 1; i < argc; i++)
        for (const auto& entry : std::filesystem::directory_iterator(argv[i])) {
            std::ifstream in(entry.path(), std::ios::binary);
            const std::vector<char> bytes{std::istreambuf_iterator<char>(in), {}};
            for (std::size_t size = 0; size <= bytes.size(); size++, inputs++) {
                // A buffer of exactly this size, so that the sanitizer detects any read beyond
                // it.
                const std::vector<std::uint8_t> input(bytes.begin(),
                                                      bytes.begin() + static_cast<long>(size));
                LLVMFuzzerTestOneInput(input.data(), input.size());
            }
            files++;
        }
    std::printf("%zu files, %zu inputs\n", files, inputs);
    return files == 0 ? 1 : 0;
}
