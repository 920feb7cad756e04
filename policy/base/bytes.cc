#include "policy/base/bytes.h"

namespace ipsec {

Error ByteReader::truncated(size_t need) const {
  return Error(Reason::kTruncated, "need " + std::to_string(need) + " bytes, have " + std::to_string(rest_.size()));
}

template <typename T>
Result<T> ByteReader::number() {
  if (rest_.size() < sizeof(T)) return truncated(sizeof(T));
  uint64_t value = 0;
  for (size_t i = 0; i < sizeof(T); ++i) value = (value << 8) | rest_[i];
  rest_ = rest_.subspan(sizeof(T));
  return static_cast<T>(value);
}

Result<uint8_t> ByteReader::u8() { return number<uint8_t>(); }
Result<uint16_t> ByteReader::u16() { return number<uint16_t>(); }
Result<uint32_t> ByteReader::u32() { return number<uint32_t>(); }
Result<uint64_t> ByteReader::u64() { return number<uint64_t>(); }

Result<ByteView> ByteReader::bytes(size_t count) {
  if (rest_.size() < count) return truncated(count);
  ByteView taken = rest_.first(count);
  rest_ = rest_.subspan(count);
  return taken;
}

Result<ByteReader> ByteReader::sub(size_t count) {
  auto view = bytes(count);
  if (!view.ok()) return std::move(view).error();
  return ByteReader(view.value());
}

ByteView ByteReader::rest() {
  ByteView all = rest_;
  rest_ = {};
  return all;
}

Status ByteReader::expect_done() const {
  if (done()) return {};
  return Error(Reason::kMalformed, std::to_string(rest_.size()) + " bytes too many");
}

void ByteWriter::u16(uint16_t value) {
  out_.push_back(static_cast<uint8_t>(value >> 8));
  out_.push_back(static_cast<uint8_t>(value));
}

void ByteWriter::u32(uint32_t value) {
  u16(static_cast<uint16_t>(value >> 16));
  u16(static_cast<uint16_t>(value));
}

void ByteWriter::u64(uint64_t value) {
  u32(static_cast<uint32_t>(value >> 32));
  u32(static_cast<uint32_t>(value));
}

void ByteWriter::patch_u8(size_t at, uint8_t value) {
  VERIFY(at < out_.size());
  out_[at] = value;
}

void ByteWriter::patch_u16(size_t at, uint16_t value) {
  patch_u8(at, static_cast<uint8_t>(value >> 8));
  patch_u8(at + 1, static_cast<uint8_t>(value));
}

void ByteWriter::patch_u32(size_t at, uint32_t value) {
  patch_u16(at, static_cast<uint16_t>(value >> 16));
  patch_u16(at + 2, static_cast<uint16_t>(value));
}

std::string to_hex(ByteView bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  text.reserve(bytes.size() * 2);
  for (uint8_t byte : bytes) {
    text.push_back(kDigits[byte >> 4]);
    text.push_back(kDigits[byte & 15]);
  }
  return text;
}

std::string hex32(uint32_t value) {
  ByteWriter writer(sizeof(value));
  writer.u32(value);
  return to_hex(writer.view());
}

namespace {
int digit_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}
}  // namespace

Result<Bytes> from_hex(std::string_view text) {
  Bytes bytes;
  bytes.reserve(text.size() / 2);
  for (size_t i = 0; i < text.size();) {
    if (text[i] == ' ' || text[i] == '\n') {
      ++i;
      continue;
    }
    int high = digit_value(text[i]);
    int low = i + 1 < text.size() ? digit_value(text[i + 1]) : -1;
    if (high < 0 || low < 0) return Error(Reason::kMalformed, "not hexadecimal at character " + std::to_string(i));
    bytes.push_back(static_cast<uint8_t>(high << 4 | low));
    i += 2;
  }
  return bytes;
}

std::string printable(ByteView bytes, size_t max) {
  std::string text;
  for (size_t i = 0; i < bytes.size() && i < max; ++i) {
    uint8_t byte = bytes[i];
    if (byte >= 0x20 && byte < 0x7f && byte != '\\' && byte != '"')
      text.push_back(static_cast<char>(byte));
    else
      text.append("\\x").append(to_hex({&byte, 1}));
  }
  if (bytes.size() > max) text.append("...");
  return text;
}

}  // namespace ipsec
