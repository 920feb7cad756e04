#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "policy/base/bytes.h"

namespace ipsec {

/// Key material: move-only, wiped when it goes, compared in constant time, impossible to print or to turn into JSON.
/// Up to 64 bytes live inside the object (no allocation); more in one block of the heap, wiped as well. The process
/// keeps its memory out of swap and core dumps (agent/privileges).
class Secret {
 public:
  static constexpr size_t kInlineBytes = 64;

  Secret() = default;
  /// `size` zero bytes, to be filled through `writable()`.
  explicit Secret(size_t size);
  /// A copy of `bytes`; whoever owns them wipes them.
  static Secret copy_of(ByteView bytes);

  Secret(Secret&& other) noexcept;
  Secret& operator=(Secret&& other) noexcept;
  Secret(const Secret&) = delete;
  Secret& operator=(const Secret&) = delete;
  ~Secret() { wipe(); }

  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  /// The bytes. The name makes every use of key material greppable.
  ByteView expose() const { return {data(), size_}; }
  std::span<uint8_t> writable() { return {data(), size_}; }
  /// A deliberate second copy (both are wiped on their own).
  Secret clone() const { return copy_of(expose()); }
  /// A copy of bytes [from, from + count).
  Secret part(size_t from, size_t count) const;
  void wipe();

  /// Constant-time comparison of the bytes (the size is not a secret).
  bool equals(ByteView other) const;

 private:
  uint8_t* data() { return heap_ ? heap_.get() : inline_.data(); }
  const uint8_t* data() const { return heap_ ? heap_.get() : inline_.data(); }
  uint32_t size_ = 0;
  std::array<uint8_t, kInlineBytes> inline_{};
  std::unique_ptr<uint8_t[]> heap_;  // NOLINT(cppcoreguidelines-avoid-c-arrays)
};

/// Wipes a buffer that held key material (OPENSSL_cleanse, which no compiler removes).
void wipe(std::span<uint8_t> bytes);
/// Constant-time equality; false at once when the sizes differ.
bool equal_in_constant_time(ByteView a, ByteView b);

}  // namespace ipsec
