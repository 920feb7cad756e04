#include "netlink/probe.h"

#include <linux/if_link.h>
#include <linux/rtnetlink.h>

#include <cerrno>

#include "netlink/uapi_xfrm.h"
#include "netlink/xfrm_structs.h"

namespace ipsec::netlink {
namespace {

using namespace detail;  // NOLINT(google-build-using-namespace): the codec's own pieces

constexpr uint32_t kReservedSpi = 255;  // IANA's; no SA of anybody has it

/// An SA of the loopback address to itself that no kernel installs unless `complete`.
enum class ProbeSa : uint8_t { kWithoutAlgorithm, kComplete };

Message probe_sa(Family family, ProbeSa kind) {
  const IpAddress loopback =
      family == Family::kIpv4 ? IpAddress::v4(0x7f000001) : IpAddress::any(family).with_bit(127, 1);
  auto info = zeroed<xfrm_usersa_info>();
  info.id.daddr = info.saddr = to_kernel(loopback);
  info.id.spi = htonl(kReservedSpi);
  info.id.proto = kEsp;
  info.family = family_of(loopback);
  info.mode = XFRM_MODE_TRANSPORT;
  info.lft = {kUnlimited, kUnlimited, kUnlimited, kUnlimited, 0, 0, 0, 0};
  Message message(XFRM_MSG_NEWSA);
  message.header(info);
  if (kind == ProbeSa::kWithoutAlgorithm) return message;
  auto aead = zeroed<AeadHeader>();
  constexpr std::string_view kName = "rfc4106(gcm(aes))";
  std::ranges::copy(kName, aead.alg_name.begin());
  const Bytes key(20);  // zeros: it never protects anything
  aead.alg_key_len = 160, aead.alg_icv_len = 128;
  message.put_struct(XFRMA_ALG_AEAD, aead, key);
  return message;
}

Result<bool> probe_esp(Socket& xfrm, Family family) {
  // An encapsulation that does not exist is refused by the protocol's own code, so only if that code is there.
  Message message = probe_sa(family, ProbeSa::kComplete);
  auto encap = zeroed<xfrm_encap_tmpl>();
  encap.encap_type = 0x7fff;
  message.put_struct(XFRMA_ENCAP, encap);
  auto reply = xfrm.transact(std::move(message));
  if (reply.ok()) {
    const policy::SaKey key{
        .destination = family == Family::kIpv4 ? IpAddress::v4(0x7f000001) : IpAddress::any(family).with_bit(127, 1),
        .spi = policy::ChildSpi(kReservedSpi)};
    TRY(xfrm.transact(encode_delete_sa(key)), "");
    return true;
  }
  const Error& error = reply.error();
  if (error.reason() == Reason::kPermission) return error;
  return error.os_errno() == EINVAL;  // EPROTONOSUPPORT: no ESP; ENOSYS: no AES-GCM
}

Result<bool> probe_offload(Socket& xfrm) {
  // Flags that do not exist are refused where offload is compiled in; elsewhere the attribute is not looked at.
  Message message = probe_sa(Family::kIpv4, ProbeSa::kComplete);
  auto offload = zeroed<xfrm_user_offload>();
  offload.ifindex = 1;
  offload.flags = 0x80;
  message.put_struct(XFRMA_OFFLOAD_DEV, offload);
  auto reply = xfrm.transact(std::move(message));
  if (!reply.ok()) return reply.error().os_errno() == EINVAL;
  const policy::SaKey key{.destination = IpAddress::v4(0x7f000001), .spi = policy::ChildSpi(kReservedSpi)};
  TRY(xfrm.transact(encode_delete_sa(key)), "");
  return false;
}

Result<bool> probe_xfrm_interface(Socket& route) {
  Message message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
  message.header(ifinfomsg{});
  constexpr std::string_view kName = "ipsecd-probe";
  message.put_text(IFLA_IFNAME, kName);
  message.nest(IFLA_LINKINFO, [&] {
    message.put_text(IFLA_INFO_KIND, "xfrm");
    message.nest(IFLA_INFO_DATA, [&] { message.put_u32(IFLA_XFRM_IF_ID, 0); });  // 0 is not allowed
  });
  auto reply = route.transact(std::move(message));
  if (reply.ok()) {  // old kernels allowed it
    Message remove(RTM_DELLINK);
    remove.header(ifinfomsg{});
    remove.put_text(IFLA_IFNAME, kName);
    TRY(route.transact(std::move(remove)), "");
    return true;
  }
  if (reply.error().reason() == Reason::kPermission) return reply.error();
  return reply.error().os_errno() != EOPNOTSUPP;
}

}  // namespace

Result<std::optional<bool>> probe_inbound_if_id(Socket& xfrm) {
  TRY_ASSIGN(const bool offload, probe_offload(xfrm), "");
  if (!offload) return std::optional<bool>();
  Message message = probe_sa(Family::kIpv4, ProbeSa::kComplete);
  auto request = zeroed<xfrm_user_offload>();
  request.flags = XFRM_OFFLOAD_INBOUND | uapi::kOffloadPacket;
  message.put_struct(XFRMA_OFFLOAD_DEV, request);
  message.put_u32(XFRMA_IF_ID, 1);
  const auto reply = xfrm.transact(std::move(message));
  if (reply.ok()) return Error(Reason::kInternal, "the loopback device took packet offload");
  if (reply.error().reason() == Reason::kPermission) return reply.error();
  return std::optional<bool>(reply.error().text().find("if_id is not supported in RX path") == std::string::npos);
}

Result<SaDirection> probe_sa_direction(Socket& xfrm) {
  // The direction 3 is out of range for a kernel that reads it. One that does not misses the algorithm.
  Message message = probe_sa(Family::kIpv4, ProbeSa::kWithoutAlgorithm);
  message.put_u8(uapi::kXfrmaSaDir, 3);
  auto reply = xfrm.transact(std::move(message));
  if (reply.ok()) return Error(Reason::kInternal, "the kernel accepted an SA without algorithms");
  if (reply.error().os_errno() == ERANGE) return SaDirection::kKnown;
  if (reply.error().os_errno() == EINVAL) return SaDirection::kUnknown;
  return std::move(reply).error().context("ask the kernel about XFRM");
}

Result<KernelFeatures> probe_features(Socket& xfrm, Socket& route) {
  KernelFeatures features;
  TRY_ASSIGN(const SaDirection direction, probe_sa_direction(xfrm), "");
  features.sa_direction = direction == SaDirection::kKnown;
  TRY_ASSIGN(features.esp4, probe_esp(xfrm, Family::kIpv4), "probe ESP");
  TRY_ASSIGN(features.esp6, probe_esp(xfrm, Family::kIpv6), "probe ESP over IPv6");
  TRY_ASSIGN(features.xfrm_interface, probe_xfrm_interface(route), "probe xfrm interfaces");
  if (features.esp4) {
    TRY_ASSIGN(features.offload, probe_offload(xfrm), "probe offload");
  }
  const auto require = [&](bool there, const char* what) {
    if (!there) features.missing.emplace_back(Reason::kKernelMissingFeature, what);
  };
  require(features.esp4, "no ESP with AES-GCM over IPv4; try `modprobe -a esp4 gcm`");
  require(features.esp6, "no ESP with AES-GCM over IPv6; try `modprobe -a esp6 gcm`");
  require(features.xfrm_interface, "no xfrm interfaces; try `modprobe xfrm_interface`");
  return features;
}

}  // namespace ipsec::netlink
