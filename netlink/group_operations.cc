#include <linux/netlink.h>

#include <cerrno>
#include <map>

#include "netlink/namespace_port.h"
#include "netlink/routes.h"
#include "netlink/rules.h"
#include "netlink/tunnel_links.h"
#include "netlink/vrf_links.h"

// The operations of NamespacePort on what groups share: VRFs and rules.
namespace ipsec::netlink {

using policy::KernelReply;

ObjectKey journal_key(const std::string& netns, const policy::RuleConfig& rule) {
  // Without the table: what it was when the rule was made tells nothing of whose the rule is.
  std::string name = rule.family == Family::kIpv4 ? "4" : "6";
  name.append(" ").append(std::to_string(rule.priority)).append(" ").append(hex32(rule.mark.value));
  name.append(" ").append(hex32(rule.mark.mask)).append(" ").append(std::to_string(rule.protocol));
  return {.netns = netns, .kind = "rule", .name = std::move(name)};
}

std::string tunnel_fingerprint(std::string_view kind, const IpAddress& local) {
  return std::string(kind) + " " + to_string(local);
}

std::string fingerprint(const policy::LinkConfig& link) {
  if (policy::is_tunnel(link.kind))
    return tunnel_fingerprint(tunnel_kind(link.kind, link.tunnel_local.family()), link.tunnel_local);
  return link.kind == policy::LinkKind::kVrf ? "vrf " + std::to_string(link.vrf_table) : std::to_string(link.if_id);
}

// ---- VRFs

/// Two VRFs with one table would be one customer.
Status NamespacePort::check_table(const policy::LinkConfig& link) {
  TRY_ASSIGN(Socket * dumps, dumps_of(NETLINK_ROUTE), "");
  TRY_ASSIGN(const std::vector<LinkInfo> all, netlink::dump_links(*dumps), "");
  for (const LinkInfo& each : all)
    if (each.kind == "vrf" && each.vrf_table == link.vrf_table && each.name != link.name)
      return Error(Reason::kKernelConflict, "VRF " + link.name + ": table " + std::to_string(link.vrf_table) +
                                                " is that of VRF " + printable(as_bytes(each.name)));
  return {};
}

Status NamespacePort::add_vrf(const policy::LinkConfig& link) {
  TRY_ASSIGN(const auto there, find_link(route_, link.name), "");
  const ObjectKey key = journal_link_key(netns_, link.name);
  if (there) {
    if (there->kind != "vrf")
      return Error(Reason::kKernelConflict, link.name + " is not a VRF but \"" + there->kind + "\"");
    if (!is_ours(*there)) return {};  // an operator's, which serves as it is
    if (there->vrf_table != link.vrf_table)
      return Error(Reason::kKernelConflict,
                   "VRF " + link.name + " has table " + std::to_string(there->vrf_table) + " and is in use");
    journal_.confirm(key);
    return update_vrf_link(route_, link, *there);
  }
  TRY(check_table(link), "");
  TRY(journal_.intend(key, fingerprint(link)), "");
  Status made = add_vrf_link(route_, link);
  if (made.ok())
    journal_.confirm(key);
  else
    (void)journal_.forget(key);  // the error of the VRF is the one to report
  return made;
}

/// Others' interfaces in it would lose their table, and their packets go on in another one's.
Status NamespacePort::delete_vrf(const LinkInfo& vrf) {
  TRY_ASSIGN(Socket * dumps, dumps_of(NETLINK_ROUTE), "");
  TRY_ASSIGN(const std::vector<LinkInfo> all, netlink::dump_links(*dumps), "");
  for (const LinkInfo& each : all)
    if (each.master == vrf.index && !is_ours(each))
      return Error(Reason::kKernelConflict,
                   "VRF " + vrf.name + " stays: " + printable(as_bytes(each.name)) + " is in it");
  return delete_vrf_link(route_, vrf);
}

// ---- rules

void NamespacePort::start(Running& running, policy::AddRule& add) {
  xfrm_.send();  // what was submitted before goes first
  const ObjectKey key = journal_key(netns_, add.rule);
  const bool owned = journal_.owns(key);
  Status made = owned ? Status{} : journal_.intend(key, "-");
  if (made.ok()) made = add_rule(route_, add.rule);
  if (made.ok() || (owned && made.error().os_errno() == EEXIST)) {
    made = {};
    journal_.confirm(key);
  } else {
    if (!owned) (void)journal_.forget(key);  // the error of the rule is the one to report
    if (made.error().os_errno() == EEXIST)
      made = Error(Reason::kKernelConflict, made.error().detail() + ": somebody else's rule is there already", EEXIST);
  }
  running.decided = done(std::move(made));
}

void NamespacePort::start(Running& running, policy::DeleteRule& remove) {
  xfrm_.send();
  const ObjectKey key = journal_key(netns_, remove.rule);
  if (!journal_.owns(key)) {
    running.decided = KernelReply{};  // never made, or removed before
    return;
  }
  Status gone = delete_rule(route_, remove.rule);
  if (gone.ok()) gone = journal_.forget(key);
  running.decided = done(std::move(gone));
}

Result<std::vector<policy::RuleConfig>> NamespacePort::dump_rules() {
  flush();
  TRY_ASSIGN(Socket * dumps, dumps_of(NETLINK_ROUTE), "");
  TRY_ASSIGN(const std::vector<LinkInfo> links, netlink::dump_links(*dumps), "");
  TRY_ASSIGN(std::vector<DecodedRule> rules, netlink::dump_rules(*dumps, kRouteProtocol), "");
  NamesOfNumbers names;
  for (const LinkInfo& link : links) names.add(link);
  std::vector<policy::RuleConfig> found;
  for (DecodedRule& each : rules) {
    each.config.vrf = names.vrf(each.table);
    found.push_back(std::move(each.config));
  }
  return found;
}

}  // namespace ipsec::netlink
