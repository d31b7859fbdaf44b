// SPDX-License-Identifier: ISC
#include "net/bpf.hpp"

namespace encsync::net::bpf {

void Program::op(int code, std::uint32_t k, unsigned if_true, unsigned if_false) {
    code_.push_back({static_cast<std::uint16_t>(code), static_cast<std::uint8_t>(if_true),
                     static_cast<std::uint8_t>(if_false), k});
}

void Program::need(int comparison, std::uint32_t k, Label& otherwise) {
    otherwise.if_false.push_back(code_.size());
    op(BPF_JMP | comparison | BPF_K, k);
}

void Program::refuse(int comparison, std::uint32_t k, Label& then) {
    then.if_true.push_back(code_.size());
    op(BPF_JMP | comparison | BPF_K, k);
}

void Program::go(Label& label) {
    label.always.push_back(code_.size());
    op(BPF_JMP | BPF_JA);
}

bool Program::place(Label& label) {
    bool reached = true;
    const auto distance = [&](std::size_t from) { return code_.size() - from - 1; };
    const auto reach = [&](std::size_t from) {
        reached = reached && distance(from) <= UINT8_MAX;
        return static_cast<std::uint8_t>(distance(from));
    };
    for (const std::size_t from : label.if_true)
        code_[from].jt = reach(from);
    for (const std::size_t from : label.if_false)
        code_[from].jf = reach(from);
    for (const std::size_t from : label.always)
        code_[from].k = static_cast<std::uint32_t>(distance(from));
    label = {};
    return reached;
}

} // namespace encsync::net::bpf
