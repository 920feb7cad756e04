#pragma once

#include <vector>

#include "policy/base/bytes.h"

namespace ipsec::ike {

/// Configuration payload (RFC 7296 section 3.15).
///      0                   1                   2                   3
///     |   CFG Type    |                    RESERVED                   |
///     ~                   Configuration Attributes                    ~
/// and one attribute (section 3.15.1):
///     |R|         Attribute Type      |            Length             |
///     ~                             Value                             ~
struct ConfigPayload {
  enum class Type : uint8_t { kRequest = 1, kReply = 2, kSet = 3, kAck = 4 };
  struct Attribute {
    uint16_t type = 0;
    Bytes value;
  };
  Type type = Type::kRequest;
  std::vector<Attribute> attributes;
  size_t left_out = 0;  ///< Attributes beyond kConfigAttributesMax.

  /// Whether RFC 7296 defines this type of payload; nothing of any other one is used.
  bool has_known_type() const { return type >= Type::kRequest && type <= Type::kAck; }
  /// How many attributes have a type that RFC 7296 does not define: they are passed over.
  size_t unknown_attributes() const;
  static Result<ConfigPayload> parse(ByteReader body);
  void write(ByteWriter& out) const;
};

}  // namespace ipsec::ike
