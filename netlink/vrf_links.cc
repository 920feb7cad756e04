#include "netlink/vrf_links.h"

#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>

#include <algorithm>
#include <cerrno>

namespace ipsec::netlink {
namespace {

constexpr size_t kNameMax = IFNAMSIZ - 1;
constexpr uint16_t kVrfTable = 1;  // IFLA_VRF_TABLE

Message request(uint16_t type, uint16_t flags, int index, bool up) {
  Message message(type, flags);
  ifinfomsg header{};
  header.ifi_family = AF_UNSPEC;
  header.ifi_index = index;
  header.ifi_change = IFF_UP;
  if (up) header.ifi_flags = IFF_UP;
  message.header(header);
  return message;
}

}  // namespace

Status add_vrf_link(Socket& route, const policy::LinkConfig& link) {
  const std::string doing = "make VRF " + printable(as_bytes(link.name));
  if (link.name.empty() || link.name.size() > kNameMax)
    return Error(Reason::kMalformed, doing + ": its name must have 1 to " + std::to_string(kNameMax) + " bytes");
  Message message = request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, 0, link.up);
  message.put_text(IFLA_IFNAME, link.name);
  message.nest(IFLA_LINKINFO, [&] {
    message.put_text(IFLA_INFO_KIND, "vrf");
    message.nest(IFLA_INFO_DATA, [&] { message.put_u32(kVrfTable, link.vrf_table); });
  });
  TRY(route.transact(std::move(message)), doing);
  if (link.altname.empty()) return {};
  Status named = add_altname(route, link);
  if (named.ok()) return {};
  // All or nothing; the name is the error to report.
  if (const auto made = find_link(route, link.name); made.ok() && *made) (void)delete_vrf_link(route, **made);
  return std::move(named).error().context(doing);
}

Status update_vrf_link(Socket& route, const policy::LinkConfig& link, const LinkInfo& there) {
  const std::string doing = "mend VRF " + printable(as_bytes(link.name));
  const bool named = link.altname.empty() || std::ranges::count(there.altnames, link.altname) != 0;
  if (!named) TRY(add_altname(route, link), doing);
  TRY(route.transact(request(RTM_SETLINK, 0, there.index, link.up)), doing);
  return {};
}

Status delete_vrf_link(Socket& route, const LinkInfo& there) {
  Message message(RTM_DELLINK);
  ifinfomsg header{};
  header.ifi_family = AF_UNSPEC;
  header.ifi_index = there.index;
  message.header(header);
  auto gone = route.transact(std::move(message));
  if (!gone.ok() && gone.error().os_errno() != ENODEV)
    return std::move(gone).error().context("remove VRF " + printable(as_bytes(there.name)));
  return {};
}

}  // namespace ipsec::netlink
