// SPDX-License-Identifier: ISC
// Assembles socket filters: classic BPF (socket(7), SO_ATTACH_FILTER), with labels for jumps.
//
//     bpf::Program p;
//     bpf::Label other;
//     p.op(BPF_LD | BPF_B | BPF_ABS, 0);
//     p.need(BPF_JEQ, 0xff, other);        // continues here if the byte is 0xff
//     p.ret(bpf::kPass);
//     p.place(other);
//     p.ret(bpf::kDrop);
//     socket.attach(p.code());
//
// A is the accumulator, X the index register, k the constant of an instruction.
#pragma once

#include <cstddef>
#include <cstdint>
#include <linux/filter.h>
#include <vector>

namespace encsync::net::bpf {

// Values for ret(): how many bytes of the packet pass.
inline constexpr std::uint32_t kDrop = 0, kPass = UINT32_MAX;

// A forward label: the jumps to it.
struct Label {
    std::vector<std::size_t> if_true, if_false, always;
};

class Program {
  public:
    std::size_t size() const { return code_.size(); }
    // Removes all but the first `size` instructions. No open jump may lead from or to the removed
    // ones.
    void cut(std::size_t size) { code_.resize(size); }
    const std::vector<sock_filter>& code() const { return code_; }

    // One instruction. The last two: how many instructions to skip if a comparison is true, and if
    // it is false.
    void op(int code, std::uint32_t k = 0, unsigned if_true = 0, unsigned if_false = 0);
    void ret(std::uint32_t bytes) { op(BPF_RET | BPF_K, bytes); }
    void load(std::uint32_t value) { op(BPF_LD | BPF_IMM, value); }
    // A = a cell of the scratch memory, or the reverse.
    void recall(std::uint32_t cell) { op(BPF_LD | BPF_MEM, cell); }
    void store(std::uint32_t cell) { op(BPF_ST, cell); }
    // A = the number of that size (BPF_B, BPF_H, BPF_W) in the packet, big-endian. A packet that
    // ends before it is dropped.
    void fetch_at(int size, std::uint32_t at) { op(BPF_LD | size | BPF_ABS, at); }
    // The same at offset A + `at`.
    void fetch_behind(int size, std::uint32_t at) {
        op(BPF_MISC | BPF_TAX);
        op(BPF_LD | size | BPF_IND, at);
    }
    void fetch_length() { op(BPF_LD | BPF_W | BPF_LEN); }

    // Jumps to the label if the comparison of A with k is false.
    void need(int comparison, std::uint32_t k, Label& otherwise);
    // Jumps to the label if it is true.
    void refuse(int comparison, std::uint32_t k, Label& then);
    void go(Label& label);
    // Places the label here and clears it. False: a conditional jump to it is too far; the limit is
    // 255 instructions.
    [[nodiscard]] bool place(Label& label);

  private:
    std::vector<sock_filter> code_;
};

} // namespace encsync::net::bpf
