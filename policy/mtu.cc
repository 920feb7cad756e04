#include "policy/mtu.h"

#include <algorithm>

#include "policy/algorithms.h"
#include "policy/base/verify.h"

namespace ipsec::policy {
namespace {

constexpr uint32_t kUdpHeader = 8, kEspHeader = 8, kEspTrailer = 2, kTcpHeader = 20;

uint32_t ip_header(Family family) { return family == Family::kIpv4 ? 20 : 40; }

/// What of a shape counts in bytes.
struct Layout {
  uint32_t fixed = 0;      // outside of what is rounded, on every packet
  uint32_t unrounded = 0;  // of the inner packet itself
  uint32_t block = 4;
};

Layout layout_of(const EspShape& shape) {
  const EspSuite& suite = shape.suite;
  const Algorithm* cipher = find_algorithm(TransformType::kEncryption, suite.encryption, suite.key_bits);
  const Algorithm* integrity = find_algorithm(TransformType::kIntegrity, suite.integrity);
  VERIFY(cipher != nullptr);
  Layout layout;
  layout.fixed = kEspHeader + (shape.udp_encapsulation ? kUdpHeader : 0) + cipher->iv_bytes;
  layout.fixed += cipher->aead ? cipher->icv_bytes : integrity != nullptr ? integrity->icv_bytes : 0U;
  // The outer header is one more in tunnel mode, and the packet's own in transport mode.
  (shape.mode == EspMode::kTunnel ? layout.fixed : layout.unrounded) += ip_header(shape.outer);
  layout.block = std::max<uint32_t>(4, cipher->block_bytes);
  return layout;
}

/// The offered suites, each as it would be with the most around it.
std::vector<EspShape> shapes_offered(const Tunnel& tunnel, const ChildConfig& child) {
  const Family outer = tunnel.remote ? tunnel.remote->family() : Family::kIpv6;
  std::vector<EspShape> shapes;
  for (const Proposal& proposal : child.policy->proposals)
    for (const Transform& cipher : proposal.transforms) {
      if (cipher.type != TransformType::kEncryption) continue;
      for (const Transform& integrity : proposal.transforms)
        if (integrity.type == TransformType::kIntegrity)
          shapes.push_back({{cipher.id, cipher.key_bits, integrity.id, false}, child.policy->mode, outer, true});
      if (proposal.first(TransformType::kIntegrity) == nullptr)
        shapes.push_back({{cipher.id, cipher.key_bits, kAuthNone, false}, child.policy->mode, outer, true});
    }
  return shapes;
}

std::string text_of(const EspShape& shape, uint32_t path) {
  std::string text = std::to_string(path) + " bytes of path less " + to_string(shape.suite) + " over IPv";
  text.append(shape.outer == Family::kIpv4 ? "4" : "6");
  if (shape.udp_encapsulation) text.append(" in UDP");
  if (shape.mode == EspMode::kTransport) text.append(" in transport mode");
  return text;
}

uint16_t limited(uint32_t inner, uint32_t headers) {
  return static_cast<uint16_t>(std::clamp(inner > headers ? inner - headers : 0, kMssMin, kMssMax));
}

}  // namespace

uint32_t inner_mtu(const EspShape& shape, uint32_t path) {
  const Layout layout = layout_of(shape);
  const uint32_t around = layout.fixed + layout.unrounded;
  if (path <= around) return kMtuMin;
  const uint32_t rounded = (path - around) / layout.block * layout.block;
  return std::max(kMtuMin, rounded + layout.unrounded > kEspTrailer ? rounded + layout.unrounded - kEspTrailer : 0);
}

uint32_t outer_bytes(const EspShape& shape, uint32_t inner) {
  const Layout layout = layout_of(shape);
  const uint32_t encrypted = (inner > layout.unrounded ? inner - layout.unrounded : 0) + kEspTrailer;
  return layout.fixed + layout.unrounded + (encrypted + layout.block - 1) / layout.block * layout.block;
}

InnerMtu child_mtu(const Tunnel& tunnel, const ChildConfig& child, const std::optional<EspShape>& shape,
                   const PathFacts& path) {
  const ChildPolicy& policy = *child.policy;
  if (policy.mtu != 0) return {.bytes = policy.mtu, .because = "mtu of child policy " + policy.name};
  const uint32_t outer = policy.outer_mtu != 0 ? policy.outer_mtu : path.mtu;
  const std::string source = policy.outer_mtu != 0  ? " (outer_mtu of child policy " + policy.name + ")"
                             : !path.device.empty() ? " (" + path.device + ")"
                                                    : " (assumed)";
  std::vector<EspShape> shapes;
  if (shape)
    shapes.push_back(*shape);
  else
    shapes = shapes_offered(tunnel, child);
  VERIFY(!shapes.empty());
  const auto tightest =
      std::ranges::min_element(shapes, {}, [outer](const EspShape& each) { return inner_mtu(each, outer); });
  InnerMtu mtu{.bytes = inner_mtu(*tightest, outer), .because = text_of(*tightest, outer) + source};
  if (!shape) mtu.because.append(", the largest of what is offered");
  // The kernel does not encrypt IPv6 packets into what is less, nor may it cut them up.
  if (mtu.bytes < kIpv6MtuMin && carries(tunnel, Family::kIpv6))
    mtu.because.append("; too little for IPv6, whose packets of up to 1280 bytes are lost");
  return mtu;
}

bool carries(const Tunnel& tunnel, Family family) {
  return std::ranges::any_of(tunnel.children, [family](const ChildConfig& child) {
    return std::ranges::any_of(
        child.remote, [family](const TrafficSelector& each) { return each.addresses.first.family() == family; });
  });
}

uint32_t link_mtu(const Tunnel& tunnel, uint32_t inner) {
  const bool has_address =
      std::ranges::any_of(tunnel.addresses, [](const InterfaceAddress& each) { return !each.address.is_v4(); });
  return has_address || carries(tunnel, Family::kIpv6) ? std::max(inner, kIpv6MtuMin) : inner;
}

MssLimits mss_limits(const MssClamp& clamp, uint32_t inner) {
  switch (clamp.mode) {
    case MssClamp::Mode::kNone: return {};
    case MssClamp::Mode::kFixed: return {.ipv4 = clamp.bytes, .ipv6 = clamp.bytes};
    case MssClamp::Mode::kMtu:
      return {.ipv4 = limited(inner, ip_header(Family::kIpv4) + kTcpHeader),
              .ipv6 = limited(std::max(inner, kIpv6MtuMin), ip_header(Family::kIpv6) + kTcpHeader)};
  }
  return {};
}

}  // namespace ipsec::policy
