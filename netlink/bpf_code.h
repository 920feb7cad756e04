#pragma once

#include <linux/bpf.h>

#include <cstddef>
#include <cstdint>
#include <vector>

/// Instructions of eBPF, put together by hand: two programs of some sixty instructions need no compiler for BPF and no
/// loader of object files. Pure; internal (kernel structures).
namespace ipsec::netlink {

/// One program in the making. Registers as the kernel has them: r1 to r5 are lost in a call, which leaves r0; r6 to r9
/// are kept; r10 is the end of the stack. Numbers are in the order of the host.
class BpfCode {
 public:
  enum Register : uint8_t { kR0, kR1, kR2, kR3, kR4, kR5, kR6, kR7, kR8, kR9, kStack };
  enum Width : uint8_t { kByte = BPF_B, kHalf = BPF_H, kWord = BPF_W, kDouble = BPF_DW };
  enum Operation : uint8_t { kAdd = BPF_ADD, kAnd = BPF_AND, kOr = BPF_OR, kShiftLeft = BPF_LSH };
  enum Condition : uint8_t { kEqual = BPF_JEQ, kNotEqual = BPF_JNE };
  /// A place to jump to, forward only.
  struct Label {
    std::vector<size_t> jumps;
  };

  void move(Register to, Register from);
  void move(Register to, int32_t number);
  void compute(Register to, Operation operation, int32_t number);
  void load(Width width, Register to, Register base, int16_t offset);
  void store(Width width, Register base, int16_t offset, Register from);
  void store(Width width, Register base, int16_t offset, int32_t number);
  /// The address `offset` bytes from the end of the stack.
  void stack_address(Register to, int16_t offset);
  /// The map behind this descriptor.
  void map(Register to, int fd);
  void call(bpf_func_id function);
  void jump_if(Register left, Condition condition, int32_t right, Label& to);
  /// What comes next is where `label` is.
  void place(Label& label);
  void leave(int32_t verdict);

  const std::vector<bpf_insn>& instructions() const { return instructions_; }

 private:
  void emit(int code, Register to, Register from, int16_t offset, int32_t number);
  std::vector<bpf_insn> instructions_;
};

}  // namespace ipsec::netlink
