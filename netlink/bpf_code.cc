#include "netlink/bpf_code.h"

namespace ipsec::netlink {

void BpfCode::emit(int code, Register to, Register from, int16_t offset, int32_t number) {
  bpf_insn instruction{};
  instruction.code = static_cast<uint8_t>(code);
  instruction.dst_reg = static_cast<uint8_t>(to & 0xf);
  instruction.src_reg = static_cast<uint8_t>(from & 0xf);
  instruction.off = offset;
  instruction.imm = number;
  instructions_.push_back(instruction);
}

void BpfCode::move(Register to, Register from) { emit(BPF_ALU64 | BPF_MOV | BPF_X, to, from, 0, 0); }

void BpfCode::move(Register to, int32_t number) { emit(BPF_ALU64 | BPF_MOV | BPF_K, to, kR0, 0, number); }

void BpfCode::compute(Register to, Operation operation, int32_t number) {
  emit(BPF_ALU64 | operation | BPF_K, to, kR0, 0, number);
}

void BpfCode::load(Width width, Register to, Register base, int16_t offset) {
  emit(BPF_LDX | BPF_MEM | width, to, base, offset, 0);
}

void BpfCode::store(Width width, Register base, int16_t offset, Register from) {
  emit(BPF_STX | BPF_MEM | width, base, from, offset, 0);
}

void BpfCode::store(Width width, Register base, int16_t offset, int32_t number) {
  emit(BPF_ST | BPF_MEM | width, base, kR0, offset, number);
}

void BpfCode::stack_address(Register to, int16_t offset) {
  move(to, kStack);
  compute(to, kAdd, offset);
}

void BpfCode::map(Register to, int fd) {
  // A constant of 64 bits takes two instructions; its source register says what it means.
  emit(BPF_LD | BPF_IMM | BPF_DW, to, static_cast<Register>(BPF_PSEUDO_MAP_FD), 0, fd);
  emit(0, kR0, kR0, 0, 0);
}

void BpfCode::call(bpf_func_id function) { emit(BPF_JMP | BPF_CALL, kR0, kR0, 0, function); }

void BpfCode::jump_if(Register left, Condition condition, int32_t right, Label& to) {
  to.jumps.push_back(instructions_.size());
  emit(BPF_JMP | condition | BPF_K, left, kR0, 0, right);
}

void BpfCode::place(Label& label) {
  for (const size_t from : label.jumps) instructions_[from].off = static_cast<int16_t>(instructions_.size() - from - 1);
  label.jumps.clear();
}

void BpfCode::leave(int32_t verdict) {
  move(kR0, verdict);
  emit(BPF_JMP | BPF_EXIT, kR0, kR0, 0, 0);
}

}  // namespace ipsec::netlink
