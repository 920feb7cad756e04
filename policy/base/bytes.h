#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "policy/base/result.h"

namespace ipsec {

using Bytes = std::vector<uint8_t>;
using ByteView = std::span<const uint8_t>;

/// Reads big-endian fields from a view of untrusted bytes; every read is checked. The only way into hostile bytes.
/// Holds a view: must not outlive the bytes. Copying a reader copies its position.
class ByteReader {
 public:
  explicit ByteReader(ByteView bytes) : rest_(bytes) {}

  Result<uint8_t> u8();
  Result<uint16_t> u16();
  Result<uint32_t> u32();
  Result<uint64_t> u64();
  /// The next `count` bytes, as a view into the input.
  Result<ByteView> bytes(size_t count);
  /// A reader over exactly the next `count` bytes, which this reader then has behind it.
  Result<ByteReader> sub(size_t count);
  /// All that is left; the reader is then done.
  ByteView rest();
  /// Error if anything is left: trailing bytes are malformed input.
  Status expect_done() const;

  size_t remaining() const { return rest_.size(); }
  bool done() const { return rest_.empty(); }

 private:
  template <typename T>
  Result<T> number();
  Error truncated(size_t need) const;
  ByteView rest_;
};

/// Appends big-endian fields to a buffer that it owns.
class ByteWriter {
 public:
  ByteWriter() = default;
  explicit ByteWriter(size_t expected_bytes) { out_.reserve(expected_bytes); }

  void u8(uint8_t value) { out_.push_back(value); }
  void u16(uint16_t value);
  void u32(uint32_t value);
  void u64(uint64_t value);
  void bytes(ByteView value) { out_.insert(out_.end(), value.begin(), value.end()); }
  void zeros(size_t count) { out_.resize(out_.size() + count); }

  size_t size() const { return out_.size(); }
  /// Overwrites a 16-bit field written before, at byte offset `at` (lengths known only afterwards).
  void patch_u16(size_t at, uint16_t value);
  void patch_u32(size_t at, uint32_t value);
  void patch_u8(size_t at, uint8_t value);
  ByteView view() const { return out_; }
  Bytes& buffer() { return out_; }
  Bytes take() && { return std::move(out_); }

 private:
  Bytes out_;
};

/// Lower-case hexadecimal digits, two a byte.
std::string to_hex(ByteView bytes);
/// Eight digits, without "0x".
std::string hex32(uint32_t value);
/// The bytes of hexadecimal digits (spaces allowed between bytes); error on anything else.
Result<Bytes> from_hex(std::string_view text);
/// Text that is safe in a log line or a terminal: printable ASCII as it is, everything else as \xNN, at most `max`
/// bytes.
std::string printable(ByteView bytes, size_t max = 128);
inline ByteView as_bytes(std::string_view text) {
  // A char may alias any object; this is the one place where text becomes bytes.
  return {reinterpret_cast<const uint8_t*>(text.data()),
          text.size()};  // NOLINT(cppcoreguidelines-pro-type-reinterpret-cast)
}
inline std::string_view as_text(ByteView bytes) {
  return {reinterpret_cast<const char*>(bytes.data()),
          bytes.size()};  // NOLINT(cppcoreguidelines-pro-type-reinterpret-cast)
}

}  // namespace ipsec
