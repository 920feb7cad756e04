#include "policy/base/ip.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>

namespace ipsec {

IpAddress IpAddress::v4(uint32_t host_order) {
  IpAddress address;
  for (int i = 0; i < 4; ++i) address.bytes_[i] = static_cast<uint8_t>(host_order >> (24 - 8 * i));
  return address;
}

IpAddress IpAddress::any(Family family) {
  IpAddress address;
  address.family_ = family;
  return address;
}

IpAddress IpAddress::last(Family family) {
  IpAddress address = any(family);
  std::fill_n(address.bytes_.begin(), address.size(), uint8_t{0xff});
  return address;
}

Result<IpAddress> IpAddress::from_bytes(ByteView bytes) {
  if (bytes.size() != 4 && bytes.size() != 16)
    return Error(Reason::kMalformed, "an address of " + std::to_string(bytes.size()) + " bytes");
  IpAddress address = any(bytes.size() == 4 ? Family::kIpv4 : Family::kIpv6);
  std::copy(bytes.begin(), bytes.end(), address.bytes_.begin());
  return address;
}

Result<IpAddress> IpAddress::parse(std::string_view text) {
  const bool v6 = text.find(':') != std::string_view::npos;
  IpAddress address = any(v6 ? Family::kIpv6 : Family::kIpv4);
  const std::string terminated(text);
  if (inet_pton(v6 ? AF_INET6 : AF_INET, terminated.c_str(), address.bytes_.data()) != 1)
    return Error(Reason::kMalformed, "\"" + printable(as_bytes(text)) + "\" is not an IP address");
  return address;
}

IpAddress IpAddress::with_bit(uint8_t index, int value) const {
  IpAddress changed = *this;
  const auto mask = static_cast<uint8_t>(0x80 >> (index % 8));
  uint8_t& byte = changed.bytes_[index / 8];
  byte = static_cast<uint8_t>(value != 0 ? byte | mask : byte & ~mask);
  return changed;
}

IpAddress IpAddress::next() const {
  IpAddress address = *this;
  for (size_t i = size(); i-- > 0;)
    if (++address.bytes_[i] != 0) break;
  return address;
}

IpAddress IpAddress::previous() const {
  IpAddress address = *this;
  for (size_t i = size(); i-- > 0;)
    if (address.bytes_[i]-- != 0) break;
  return address;
}

namespace {
IpAddress with_host_bits(const IpAddress& address, uint8_t length, int value) {
  if (length >= address.bits()) return address;
  std::array<uint8_t, 16> bytes{};
  std::copy(address.bytes().begin(), address.bytes().end(), bytes.begin());
  const size_t part = length / 8U;
  const auto mask = static_cast<uint8_t>(0xff >> length % 8);
  bytes[part] = static_cast<uint8_t>(value != 0 ? bytes[part] | mask : bytes[part] & ~mask);
  std::fill(bytes.begin() + part + 1, bytes.begin() + address.size(), static_cast<uint8_t>(value != 0 ? 0xff : 0));
  return IpAddress::from_bytes({bytes.data(), address.size()}).value();
}
}  // namespace

Result<IpPrefix> IpPrefix::parse(std::string_view text) {
  const size_t slash = text.find('/');
  TRY_ASSIGN(IpAddress address, IpAddress::parse(text.substr(0, slash)), "");
  if (slash == std::string_view::npos) return host(address);
  const std::string_view digits = text.substr(slash + 1);
  uint8_t length = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), length);
  if (error != std::errc{} || end != digits.data() + digits.size() || length > address.bits())
    return Error(Reason::kMalformed, "\"" + printable(as_bytes(text)) + "\": the length after / must be 0 to " +
                                         std::to_string(address.bits()));
  const IpPrefix masked{with_host_bits(address, length, 0), length};
  if (masked.address != address)
    return Error(Reason::kMalformed,
                 "\"" + std::string(text) + "\" has host bits set; the prefix is " + to_string(masked));
  return masked;
}

bool IpPrefix::contains(const IpAddress& other) const {
  return other.family() == address.family() && with_host_bits(other, length, 0) == address;
}

IpAddress IpPrefix::last() const { return with_host_bits(address, length, 1); }

std::vector<IpPrefix> IpRange::prefixes() const {
  std::vector<IpPrefix> found;
  IpAddress from = first;
  for (;;) {
    // The largest block that starts here and does not pass the end.
    uint8_t length = from.bits();
    while (length > 0 && !from.bit(static_cast<uint8_t>(length - 1)) &&
           IpPrefix{from, static_cast<uint8_t>(length - 1)}.last() <= last)
      --length;
    found.push_back({from, length});
    const IpAddress end = found.back().last();
    if (end >= last) return found;
    from = end.next();
  }
}

size_t IpRange::prefix_count() const {
  const unsigned bits = first.bits();
  auto bit = [](const IpAddress& address, unsigned index) { return address.bit(static_cast<uint8_t>(index)); };
  unsigned common = 0;
  while (common < bits && bit(first, common) == bit(last, common)) ++common;
  // Blocks from `edge` to the end of its half of what is below the common bits: one where its bits that point inwards
  // end, and one beside each bit above that points outwards.
  auto half = [&](const IpAddress& edge, bool inward) -> size_t {
    unsigned end = bits;
    while (end > common + 1 && bit(edge, end - 1) != inward) --end;
    size_t count = 1;
    for (unsigned i = common + 1; i + 1 < end; ++i)
      if (bit(edge, i) != inward) ++count;
    return count;
  };
  auto whole = [&](const IpAddress& edge, bool inward) {
    for (unsigned i = common; i < bits; ++i)
      if (bit(edge, i) == inward) return false;
    return true;
  };
  if (whole(first, true) && whole(last, false)) return 1;
  return half(first, true) + half(last, false);
}

std::string to_string(const IpAddress& address) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  inet_ntop(address.is_v4() ? AF_INET : AF_INET6, address.bytes().data(), text.data(), text.size());
  return text.data();
}

std::string to_string(const IpPrefix& prefix) {
  return to_string(prefix.address) + "/" + std::to_string(prefix.length);
}

std::string to_string(const IpRange& range) {
  auto blocks = range.prefixes();
  if (blocks.size() == 1) return to_string(blocks.front());
  return to_string(range.first) + "-" + to_string(range.last);
}

std::string to_string(const Endpoint& endpoint) {
  return to_string(endpoint.address) + "[" + std::to_string(endpoint.port) + "]";
}

}  // namespace ipsec

size_t std::hash<ipsec::IpAddress>::operator()(const ipsec::IpAddress& address) const noexcept {
  uint64_t mixed = static_cast<uint64_t>(address.family());
  for (uint8_t byte : address.bytes()) mixed = (mixed ^ byte) * 0x100000001b3;
  return mixed ^ (mixed >> 29);
}

size_t std::hash<ipsec::Endpoint>::operator()(const ipsec::Endpoint& endpoint) const noexcept {
  return std::hash<ipsec::IpAddress>{}(endpoint.address) * 31 + endpoint.port;
}
