#pragma once

#include <array>
#include <bit>
#include <concepts>
#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <type_traits>

#include "policy/base/bytes.h"
#include "policy/base/result.h"

namespace ipsec::netlink {

template <typename T>
concept PlainStruct = std::is_trivially_copyable_v<T> && !std::is_pointer_v<T>;

/// The bytes of a kernel structure (host byte order, as netlink wants it), its padding zero where the compiler can do
/// so: what was on the stack before is nobody's business.
template <PlainStruct T>
std::array<uint8_t, sizeof(T)> to_bytes(T value) {
#if __has_builtin(__builtin_clear_padding)
  if constexpr (std::is_class_v<T>) __builtin_clear_padding(&value);
#endif
  return std::bit_cast<std::array<uint8_t, sizeof(T)>>(value);
}

/// A kernel structure read from the start of `bytes`; `kTruncated` when they are too few.
template <PlainStruct T>
Result<T> from_bytes(ByteView bytes) {
  if (bytes.size() < sizeof(T))
    return Error(Reason::kTruncated,
                 "need " + std::to_string(sizeof(T)) + " bytes, have " + std::to_string(bytes.size()));
  std::array<uint8_t, sizeof(T)> raw{};
  for (size_t i = 0; i < sizeof(T); ++i) raw[i] = bytes[i];
  return std::bit_cast<T>(raw);
}

/// Builds one netlink request. The buffer may hold key material, so it is wiped when the message goes and whenever it
/// has to grow. Attributes are padded to 4 bytes with zeros.
class Message {
 public:
  /// `flags` beside NLM_F_REQUEST and NLM_F_ACK, which every request carries.
  explicit Message(uint16_t type, uint16_t flags = 0);
  Message(Message&&) noexcept = default;
  Message& operator=(Message&& other) noexcept;
  Message(const Message&) = delete;
  Message& operator=(const Message&) = delete;
  ~Message();

  /// The fixed structure behind the netlink header; once, before the first attribute.
  template <PlainStruct T>
  void header(const T& value) {
    append(to_bytes(value));
    pad();
  }
  void put(uint16_t attribute, ByteView value);
  template <PlainStruct T>
  void put_struct(uint16_t attribute, const T& value) {
    put(attribute, to_bytes(value));
  }
  /// A structure that ends in an array: `value`, then `tail`, in one attribute.
  template <PlainStruct T>
  void put_struct(uint16_t attribute, const T& value, ByteView tail) {
    attribute_header(attribute, sizeof(T) + tail.size());
    append(to_bytes(value));
    append(tail);
    pad();
  }
  void put_u8(uint16_t attribute, uint8_t value) { put_struct(attribute, value); }
  void put_u32(uint16_t attribute, uint32_t value) { put_struct(attribute, value); }
  /// With its terminating zero, as the kernel's NLA_STRING takes it.
  void put_text(uint16_t attribute, std::string_view text);
  /// An attribute (with the nested flag) that holds what `fill` puts.
  void nest(uint16_t attribute, const std::function<void()>& fill);

  void set_sequence(uint32_t sequence);
  /// The socket that sends it: in XFRM the kernel tells others who made a change by what the request says of itself.
  void set_sender(uint32_t port);
  uint32_t sequence() const { return sequence_; }
  uint16_t type() const { return type_; }
  /// The kernel says nothing of it when it has done it.
  void drop_acknowledgement();
  /// Adds NLM_F_* flags.
  void add_flags(uint16_t flags);
  /// The whole message, its length filled in.
  ByteView bytes() const { return buffer_; }

 private:
  void append(ByteView bytes);
  void pad();
  void attribute_header(uint16_t attribute, size_t value_bytes);
  void patch_header();

  uint16_t type_, flags_;
  uint32_t sequence_ = 0, sender_ = 0;
  Bytes buffer_;
};

/// One message received, without its header. The view is valid as long as the buffer that it came from.
struct Received {
  uint16_t type = 0;
  uint16_t flags = 0;
  uint32_t sequence = 0;
  ByteView payload;
};

/// Takes the next message off the front of a datagram; `kTruncated`/`kMalformed` when it does not hold one.
Result<Received> take_message(ByteView& datagram);

/// The attributes of a message, bounds checked once; a repeated type keeps its last value, types that are too new for
/// the table are skipped.
class Attributes {
 public:
  /// `bytes`: what follows the fixed structure.
  static Result<Attributes> parse(ByteView bytes);

  std::optional<ByteView> find(uint16_t type) const { return type < kTypes ? values_[type] : std::nullopt; }
  /// A value of exactly this size; nothing when it is absent, an error when its size is wrong.
  template <PlainStruct T>
  Result<std::optional<T>> get(uint16_t type) const {
    const auto value = find(type);
    if (!value) return std::optional<T>();
    if (value->size() < sizeof(T)) return wrong_size(type, sizeof(T), value->size());
    return std::optional<T>(std::move(from_bytes<T>(*value)).value());
  }
  /// Text up to its first zero; empty when absent.
  std::string text(uint16_t type) const;
  /// The attributes inside an attribute; empty when absent.
  Result<Attributes> nested(uint16_t type) const;
  /// Calls `each` with the type and value of all attributes in `bytes`, in order; for lists that repeat one type.
  static Status for_each(ByteView bytes, const std::function<void(uint16_t, ByteView)>& each);

 private:
  static constexpr size_t kTypes = 96;
  static Error wrong_size(uint16_t type, size_t need, size_t have);
  std::array<std::optional<ByteView>, kTypes> values_{};
};

/// The bytes of a fixed structure with its padding, after which the attributes begin.
constexpr size_t aligned(size_t bytes) { return (bytes + 3) & ~size_t{3}; }
/// The attributes behind a fixed structure of `header_bytes` bytes.
Result<Attributes> attributes_behind(ByteView payload, size_t header_bytes);

}  // namespace ipsec::netlink
