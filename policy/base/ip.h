#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "policy/base/bytes.h"

namespace ipsec {

enum class Family : uint8_t { kIpv4 = 4, kIpv6 = 6 };

/// An IPv4 or IPv6 address. Ordered by family, then numerically.
class IpAddress {
 public:
  IpAddress() = default;  ///< 0.0.0.0
  static IpAddress v4(uint32_t host_order);
  static IpAddress any(Family family);
  static IpAddress last(Family family);
  /// 4 or 16 bytes in network order; error otherwise.
  static Result<IpAddress> from_bytes(ByteView bytes);
  /// "192.0.2.1", "2001:db8::1"; error with what was found otherwise.
  static Result<IpAddress> parse(std::string_view text);

  Family family() const { return family_; }
  bool is_v4() const { return family_ == Family::kIpv4; }
  size_t size() const { return is_v4() ? 4 : 16; }     ///< Bytes.
  uint8_t bits() const { return is_v4() ? 32 : 128; }  ///< Length of a host prefix.
  ByteView bytes() const { return {bytes_.data(), size()}; }
  bool is_any() const { return *this == any(family_); }
  bool bit(uint8_t index) const { return (bytes_[index / 8] >> (7 - index % 8) & 1) != 0; }
  IpAddress with_bit(uint8_t index, int value) const;
  /// The next address; wraps to the first one after the last.
  IpAddress next() const;
  IpAddress previous() const;

  friend auto operator<=>(const IpAddress&, const IpAddress&) = default;

 private:
  Family family_ = Family::kIpv4;
  std::array<uint8_t, 16> bytes_{};  // IPv4 in the first four, the rest zero
};

/// An address block; host bits are always zero.
struct IpPrefix {
  IpAddress address;
  uint8_t length = 0;  ///< Leading bits that count: 0 to 32 or 128.

  /// "10.1.0.0/16", or an address alone for a host prefix. Host bits that are set are an error that names the mended
  /// form.
  static Result<IpPrefix> parse(std::string_view text);
  static IpPrefix host(const IpAddress& address) { return {address, address.bits()}; }
  static IpPrefix all(Family family) { return {IpAddress::any(family), 0}; }
  bool contains(const IpAddress& other) const;
  IpAddress last() const;
  friend auto operator<=>(const IpPrefix&, const IpPrefix&) = default;
};

/// All addresses from `first` to `last`, both included and of one family, first <= last.
struct IpRange {
  IpAddress first;
  IpAddress last;

  static IpRange of(const IpPrefix& prefix) { return {prefix.address, prefix.last()}; }
  bool contains(const IpAddress& address) const { return first <= address && address <= last; }
  bool contains(const IpRange& other) const { return contains(other.first) && contains(other.last); }
  /// The fewest prefixes whose union is exactly this range (at most 2 * bits - 2 of them), in ascending order.
  std::vector<IpPrefix> prefixes() const;
  size_t prefix_count() const;  ///< How many those are, without making them.
  friend auto operator<=>(const IpRange&, const IpRange&) = default;
};

/// An address and a UDP port.
struct Endpoint {
  IpAddress address;
  uint16_t port = 0;
  friend auto operator<=>(const Endpoint&, const Endpoint&) = default;
};

std::string to_string(const IpAddress& address);
std::string to_string(const IpPrefix& prefix);
std::string to_string(const IpRange& range);      ///< As a prefix where it is one, else "first-last".
std::string to_string(const Endpoint& endpoint);  ///< "192.0.2.1[500]", the notation of IKE logs.

}  // namespace ipsec

template <>
struct std::hash<ipsec::IpAddress> {
  size_t operator()(const ipsec::IpAddress& address) const noexcept;
};
template <>
struct std::hash<ipsec::Endpoint> {
  size_t operator()(const ipsec::Endpoint& endpoint) const noexcept;
};
