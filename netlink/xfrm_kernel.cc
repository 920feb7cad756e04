#include "netlink/xfrm_kernel.h"

#include <algorithm>

#include "netlink/addresses.h"
#include "netlink/links.h"
#include "netlink/namespace_read.h"
#include "netlink/policy_hash.h"
#include "netlink/probe.h"

namespace ipsec::netlink {

Result<std::unique_ptr<XfrmKernel>> XfrmKernel::create(const Options& options) {
  std::string boot_id = options.boot_id;
  if (boot_id.empty()) {
    TRY_ASSIGN(boot_id, Journal::read_boot_id(), "");
  }
  TRY_ASSIGN(Journal journal, Journal::open(options.journal_path, boot_id), "");
  std::unique_ptr<XfrmKernel> kernel(new XfrmKernel(options, std::move(journal)));
  // Routes of an earlier run may be of a protocol that was configured then.
  for (const ObjectKey& key : kernel->journal_.all("route"))
    if (const auto protocol = journal_route_protocol(key)) kernel->route_protocols_.insert(*protocol);
  return kernel;
}

Result<NamespacePort*> XfrmKernel::port(const std::string& netns) {
  if (const auto found = ports_.find(netns); found != ports_.end()) return found->second.get();
  if (ports_.size() >= kNamespacesMax)
    return Error(Reason::kLimitReached, std::to_string(kNamespacesMax) + " namespaces are open");
  if (!netns.empty() && names_.follow(netns)) fds_changed_ = true;
  auto opened_file = open_netns(netns);
  if (!opened_file.ok()) {
    const bool missing = opened_file.error().reason() == Reason::kNamespaceMissing;
    if (missing && awaited_.size() < kNamespacesMax) awaited_.insert(netns);
    return std::move(opened_file).error();
  }
  const UniqueFd file = std::move(opened_file).value();
  TRY_ASSIGN(const NetnsIdentity identity, netns_identity(file), "");
  TRY_ASSIGN(auto opened,
             NamespacePort::open(
                 {.netns = netns,
                  .receive_buffer_bytes = options_.receive_buffer_bytes,
                  .route_protocols = route_protocols_,
                  .df_by_programs = [this] { return df_writer().ok() && *df_writer() == DfWriter::kPrograms; }},
                 journal_, completions_),
             "");
  awaited_.erase(netns);
  identities_.insert_or_assign(netns, identity);
  fds_changed_ = true;
  openings_[netns] = ++last_opening_;
  return ports_.emplace(netns, std::move(opened)).first->second.get();
}

void XfrmKernel::submit(policy::KernelOperation operation) {
  auto where = port(operation.netns);
  if (where.ok() && (*where)->queued() >= kQueuedOperationsMax)
    where = Error(Reason::kLimitReached, "too many operations are queued for the kernel");
  if (!where.ok()) {
    completions_.push_back({.id = operation.id, .result = std::move(where).error()});
    return;
  }
  if (const auto* add = std::get_if<policy::AddRoute>(&operation.change)) follow_routes(add->route.protocol);
  (*where)->submit(std::move(operation));
}

/// Removals of routes of a protocol are told from its first route on.
void XfrmKernel::follow_routes(uint8_t protocol) {
  if (!route_protocols_.insert(protocol).second) return;
  for (auto& [netns, source] : sources_)
    if (!source.follow_routes(route_protocols_).ok()) events_.resync(netns);  // the filter before stays
}

void XfrmKernel::flush() {
  const auto until = std::chrono::steady_clock::now() + kFlushTurnMax;
  // Behind the one whose turn it was last, so that each namespace comes round.
  auto it = ports_.upper_bound(last_flushed_);
  for (size_t i = 0; i < ports_.size(); ++i, ++it) {
    if (it == ports_.end()) it = ports_.begin();
    if (std::chrono::steady_clock::now() < until) last_flushed_ = it->first;
    it->second->flush(until);
  }
  note_rules_fds();
}

bool XfrmKernel::has_unsent() const {
  return std::ranges::any_of(ports_, [](const auto& entry) { return entry.second->has_more(); });
}

/// A namespace's first packet rules bring more descriptors.
void XfrmKernel::note_rules_fds() {
  for (auto& [netns, each] : ports_)
    if (each->take_rules_fds_changed()) fds_changed_ = true;
}

std::optional<policy::KernelCompletion> XfrmKernel::poll_completion() {
  if (completions_.empty()) return std::nullopt;
  policy::KernelCompletion completion = std::move(completions_.front());
  completions_.pop_front();
  return completion;
}

/// What others did to objects that are none of ours is nobody's business here; what they did to ours must be compared
/// before it is touched again.
bool XfrmKernel::concerns_us(const policy::KernelEvent& event) {
  if (const auto* removed = std::get_if<policy::SaRemoved>(&event)) {
    if (!removed->key) {
      journal_.doubt_all(removed->netns, "sa");
      return true;
    }
    const ObjectKey key = journal_key(removed->netns, *removed->key);
    journal_.doubt(key);
    return journal_.owns(key);
  }
  if (const auto* disturbed = std::get_if<policy::PolicyDisturbed>(&event)) {
    if (!disturbed->key) {
      journal_.doubt_all(disturbed->netns, "policy");
      return true;
    }
    const ObjectKey key = journal_key(disturbed->netns, *disturbed->key);
    journal_.doubt(key);
    return journal_.owns(key);
  }
  // What the kernel has ended is no longer ours to delete. At worst a stale line stays: deleting is compared.
  if (const auto* expired = std::get_if<policy::SaExpired>(&event); expired != nullptr && expired->hard)
    (void)journal_.forget(journal_key(expired->netns, expired->key));
  return true;
}

std::optional<policy::KernelEvent> XfrmKernel::poll_event() {
  while (auto event = events_.pop())
    if (concerns_us(*event)) return event;
  return std::nullopt;
}

// ---- complete reads

bool XfrmKernel::is_same_namespace(const std::string& netns) const {
  const auto known = identities_.find(netns);
  if (netns.empty() || known == identities_.end()) return true;
  const auto file = open_netns(netns);
  if (!file.ok()) return file.error().reason() != Reason::kNamespaceMissing;  // another error tells nothing
  const auto identity = netns_identity(*file);
  return !identity.ok() || *identity == known->second;
}

/// The sockets in it would keep it alive.
void XfrmKernel::give_up(const std::string& netns) {
  (void)leave(netns, Leave::kIsGone);  // at worst stale lines stay in the journal: what they name is compared
  events_.push(netns, policy::NamespaceGone{netns});
}

void XfrmKernel::look_at_namespaces() {
  std::vector<std::string> gone;
  for (const auto& [netns, identity] : identities_)
    if (!is_same_namespace(netns)) gone.push_back(netns);
  for (const std::string& netns : gone) give_up(netns);
  for (const std::string& netns : awaited_)
    if (open_netns(netns).ok()) events_.resync(netns);  // it may not be complete yet: whoever wants it tries again
}

Result<NamespacePort*> XfrmKernel::port_to_read(const std::string& netns, const char* doing) {
  if (!is_same_namespace(netns)) give_up(netns);
  TRY_ASSIGN(NamespacePort * where, port(netns), doing);
  return where;
}

Result<std::unique_ptr<policy::NamespaceRead>> XfrmKernel::begin_read(const std::string& netns) {
  TRY_ASSIGN(NamespacePort * where, port_to_read(netns, "read a namespace"), "");
  auto same_port = [this, netns, opening = openings_.at(netns)]() -> Result<NamespacePort*> {
    const auto now = openings_.find(netns);
    if (now == openings_.end() || now->second != opening)
      return Error(Reason::kNamespaceMissing, "network namespace " + netns + " went while it was read");
    return ports_.at(netns).get();
  };
  TRY_ASSIGN(auto read, KernelRead::begin(netns, where->route_protocols(), std::move(same_port)), "");
  return std::unique_ptr<policy::NamespaceRead>(std::move(read));
}

Result<std::vector<policy::SaState>> XfrmKernel::dump_sas(const std::string& netns) {
  TRY_ASSIGN(NamespacePort * where, port_to_read(netns, "read all SAs"), "");
  return where->dump_sas();
}

Result<std::map<policy::SaKey, policy::SaState>> XfrmKernel::read_sas(const std::string& netns,
                                                                      const std::vector<policy::SaKey>& keys) {
  TRY_ASSIGN(NamespacePort * where, port_to_read(netns, "read SAs"), "");
  return where->read_sas(keys);
}

Result<std::vector<policy::PolicyConfig>> XfrmKernel::dump_policies(const std::string& netns) {
  TRY_ASSIGN(NamespacePort * where, port_to_read(netns, "read all policies"), "");
  return where->dump_policies();
}

Result<std::vector<policy::LinkConfig>> XfrmKernel::dump_links(const std::string& netns) {
  TRY_ASSIGN(NamespacePort * where, port_to_read(netns, "read all links"), "");
  return where->dump_links();
}

Result<std::vector<policy::RouteConfig>> XfrmKernel::dump_routes(const std::string& netns) {
  TRY_ASSIGN(NamespacePort * where, port_to_read(netns, "read all routes"), "");
  return where->dump_routes();
}

Result<policy::PacketRules> XfrmKernel::dump_packet_rules(const std::string& netns) {
  TRY_ASSIGN(NamespacePort * where, port_to_read(netns, "read packet rules"), "");
  return where->dump_packet_rules();
}

Result<policy::PathFacts> XfrmKernel::path_to(const policy::RoutingPlace& place, const IpAddress& destination) {
  TRY_ASSIGN(NamespacePort * where, port(place.netns), "path to " + to_string(destination));
  return where->path_to(place.vrf, destination);
}

Result<bool> XfrmKernel::is_on_link(const policy::RoutingPlace& place, const IpAddress& destination) {
  TRY_ASSIGN(NamespacePort * where, port(place.netns), "path to " + to_string(destination));
  return where->is_on_link(place.vrf, destination);
}

const Result<DfWriter>& XfrmKernel::df_writer() {
  if (!df_writer_) df_writer_ = probe_df_writer();
  return *df_writer_;
}

Status XfrmKernel::writes_df() {
  if (!df_writer().ok()) return df_writer().error();
  return {};
}

Result<std::vector<policy::RuleConfig>> XfrmKernel::dump_rules(const std::string& netns) {
  TRY_ASSIGN(NamespacePort * where, port_to_read(netns, "read all rules"), "");
  return where->dump_rules();
}

std::vector<int> XfrmKernel::poll_fds() const {
  std::vector<int> fds;
  for (const auto& [netns, each] : ports_) {
    fds.push_back(each->xfrm_fd());
    each->add_rules_fds(fds);
  }
  for (const auto& [netns, source] : sources_) {
    fds.push_back(source.xfrm_fd());
    fds.push_back(source.link_fd());
  }
  for (const auto& [netns, watch] : route_watches_) fds.push_back(watch.fd());
  for (const int fd : names_.fds()) fds.push_back(fd);
  return fds;
}

void XfrmKernel::process() {
  const auto now = std::chrono::steady_clock::now();
  for (auto& [netns, each] : ports_) {
    each->process(now);
    if (each->take_overrun()) events_.resync(netns);
    if (each->take_disturbed_rules()) events_.push(netns, policy::PacketRulesDisturbed{netns});
  }
  note_rules_fds();
  for (auto& [netns, source] : sources_) source.drain(events_);
  for (auto& [netns, watch] : route_watches_)
    if (watch.take()) events_.push(netns, policy::RoutesChanged{netns});
  if (names_.drain()) {
    fds_changed_ = true;  // that of a process that has ended is not waited on any more
    look_at_namespaces();
  }
}

bool XfrmKernel::busy() const {
  return std::ranges::any_of(ports_, [](const auto& entry) { return !entry.second->idle(); });
}

Result<policy::PolicyHash> XfrmKernel::policy_hash(const std::string& netns) {
  TRY_ASSIGN(NamespacePort * where, port_to_read(netns, "policy hash"), "");
  where->flush();
  return read_policy_hash(where->xfrm());
}

Status XfrmKernel::set_policy_hash(const std::string& netns, const policy::PolicyHash& hash) {
  TRY_ASSIGN(NamespacePort * where, port_to_read(netns, "policy hash"), "");
  where->flush();
  return netlink::set_policy_hash(where->xfrm(), journal_, netns, hash);
}

std::set<std::string> XfrmKernel::hashed_namespaces() const {
  std::set<std::string> namespaces;
  for (const ObjectKey& key : journal_.all(kPolicyHashKind)) namespaces.insert(key.netns);
  return namespaces;
}

Status XfrmKernel::restore_policy_hash(const std::string& netns) {
  TRY_ASSIGN(NamespacePort * where, port_to_read(netns, "policy hash"), "");
  where->flush();
  return netlink::restore_policy_hash(where->xfrm(), journal_, netns);
}

Status XfrmKernel::watch_routes(const std::string& netns) {
  TRY(port(netns), "watch routes");  // so that its end is noticed
  auto watch = route_watches_.find(netns);
  if (watch == route_watches_.end()) {
    TRY_ASSIGN(RouteWatch opened, RouteWatch::open(netns), "");
    watch = route_watches_.emplace(netns, std::move(opened)).first;
    fds_changed_ = true;
  }
  return watch->second.arm();
}

Status XfrmKernel::watch(const std::string& netns) {
  if (sources_.contains(netns)) return {};
  if (!is_same_namespace(netns)) give_up(netns);
  TRY_ASSIGN(NamespacePort * own, port(netns), "watch");
  TRY_ASSIGN(EventSource source,
             EventSource::open({.netns = netns,
                                .receive_buffer_bytes = options_.receive_buffer_bytes,
                                .own_xfrm_port = own->xfrm().port_id(),
                                .own_route_port = own->route().port_id()}),
             "");
  TRY(source.follow_routes(route_protocols_), "watch");
  sources_.emplace(netns, std::move(source));
  fds_changed_ = true;
  events_.resync(netns);
  return {};
}

Status XfrmKernel::leave(const std::string& netns, Leave how) {
  if (const auto found = ports_.find(netns); found != ports_.end()) {
    found->second->flush();
    found->second->abandon(Error(Reason::kNamespaceMissing, "network namespace " + netns + " is gone"));
    ports_.erase(found);
    openings_.erase(netns);
    fds_changed_ = true;
  }
  identities_.erase(netns);
  if (sources_.erase(netns) + route_watches_.erase(netns) != 0) fds_changed_ = true;
  return how == Leave::kIsGone ? journal_.forget_namespace(netns) : Status{};
}

Status XfrmKernel::forget_absent(const std::set<std::string>& namespaces) {
  std::set<ObjectKey> standing;
  for (const std::string& netns : namespaces) {
    auto read = keys_of(netns);
    const bool missing = !read.ok() && read.error().reason() == Reason::kNamespaceMissing;
    if (!read.ok() && !missing) return std::move(read).error();
    if (read.ok()) standing.merge(*read);
  }
  for (const ObjectKey& key : journal_.all())
    if (namespaces.contains(key.netns) && !standing.contains(key)) TRY(journal_.forget(key), "");
  return {};
}

/// Of everything that stands in a namespace.
Result<std::set<ObjectKey>> XfrmKernel::keys_of(const std::string& netns) {
  std::set<ObjectKey> keys{policy_hash_key(netns)};  // a setting is there as long as its namespace is
  TRY_ASSIGN(const auto links, dump_links(netns), "");
  for (const policy::LinkConfig& each : links) keys.insert(journal_link_key(netns, each.name));
  TRY_ASSIGN(const auto policies, dump_policies(netns), "");
  for (const policy::PolicyConfig& each : policies) keys.insert(journal_key(netns, each.key));
  TRY_ASSIGN(const auto routes, dump_routes(netns), "");
  for (const policy::RouteConfig& each : routes) keys.insert(journal_key(netns, each));
  TRY_ASSIGN(const auto rules, dump_rules(netns), "");
  for (const policy::RuleConfig& each : rules) keys.insert(journal_key(netns, each));
  TRY_ASSIGN(const auto sas, dump_sas(netns), "");
  for (const policy::SaState& each : sas) keys.insert(journal_key(netns, each.key));
  TRY_ASSIGN(const auto packet_rules, dump_packet_rules(netns), "");
  if (!packet_rules.empty()) keys.insert(journal_rules_key(netns));
  return keys;
}

Status XfrmKernel::clear_acquire(const policy::Acquire& acquire) {
  TRY_ASSIGN(NamespacePort * where, port(acquire.netns), "clear an acquire");
  return where->clear_acquire(acquire);
}

Result<KernelFeatures> XfrmKernel::probe(const std::string& netns) {
  TRY_ASSIGN(NamespacePort * where, port(netns), "probe the kernel");
  return probe_features(where->xfrm(), where->route());
}

bool XfrmKernel::owns(const std::string& netns, const policy::SaKey& key) const {
  return journal_.owns(journal_key(netns, key));
}

bool XfrmKernel::owns(const std::string& netns, const policy::PolicyKey& key) const {
  return journal_.owns(journal_key(netns, key));
}

bool XfrmKernel::owns(const std::string& netns, const policy::SaState& sa) const {
  const Journal::Entry* entry = journal_.find(journal_key(netns, sa.key));
  return entry != nullptr && entry->fingerprint == fingerprint(sa);
}

bool XfrmKernel::owns(const std::string& netns, const policy::PolicyConfig& policy) const {
  const Journal::Entry* entry = journal_.find(journal_key(netns, policy.key));
  return entry != nullptr && entry->fingerprint == fingerprint(policy);
}

bool XfrmKernel::owns(const std::string& netns, const policy::LinkConfig& link) const {
  const Journal::Entry* entry = journal_.find(journal_link_key(netns, link.name));
  return entry != nullptr && entry->fingerprint == fingerprint(link);
}

bool XfrmKernel::owns(const std::string& netns, const policy::RouteConfig& route) const {
  return journal_.owns(journal_key(netns, route));
}

/// What is read is ours already: see NamespacePort::dump_packet_rules().
bool XfrmKernel::owns(const std::string& netns, const policy::PacketRules& /*rules*/) const {
  const auto port = ports_.find(netns);
  return journal_.owns(journal_rules_key(netns)) || (port != ports_.end() && port->second->has_df_programs());
}

bool XfrmKernel::owns(const std::string& netns, const policy::RuleConfig& rule) const {
  return journal_.owns(journal_key(netns, rule));
}

Status XfrmKernel::claim(const std::string& netns, const policy::NamespaceState& objects) {
  for (const auto& [name, link] : objects.links)
    TRY(journal_.intend(journal_link_key(netns, name), fingerprint(link)), "");
  for (const auto& [key, policy] : objects.policies)
    TRY(journal_.intend(journal_key(netns, key), fingerprint(policy)), "");
  for (const auto& [key, route] : objects.routes) TRY(journal_.intend(journal_key(netns, route), "-"), "");
  for (const auto& [key, rule] : objects.rules) TRY(journal_.intend(journal_key(netns, rule), "-"), "");
  for (const auto& [key, sa] : objects.sas) TRY(journal_.intend(journal_key(netns, key), fingerprint(sa)), "");
  if (!objects.packet_rules.empty()) TRY(journal_.intend(journal_rules_key(netns), "-"), "");
  return {};
}

Result<bool> XfrmKernel::address_exists(const std::string& netns, const IpAddress& address) {
  TRY_ASSIGN(NamespacePort * where, port(netns), "");
  return has_address(where->route(), address);
}

Result<LinkInfo> XfrmKernel::device(const std::string& netns, const std::string& name) {
  TRY_ASSIGN(NamespacePort * where, port(netns), "");
  return need_link(where->route(), name);
}

Result<DeviceReading> XfrmKernel::read_device(const std::string& netns, const std::string& name) {
  TRY_ASSIGN(NamespacePort * where, port(netns), "");
  return netlink::read_device(where->route(), name);
}

Result<uint64_t> XfrmKernel::sent_packets(const std::string& netns, const std::string& name) {
  TRY_ASSIGN(NamespacePort * where, port(netns), "");
  return netlink::sent_packets(where->route(), name);
}

Result<std::optional<bool>> XfrmKernel::takes_inbound_if_id(const std::string& netns) {
  TRY_ASSIGN(NamespacePort * where, port_to_read(netns, "offload"), "");
  where->flush();
  return probe_inbound_if_id(where->xfrm());
}

Result<uint32_t> XfrmKernel::vrf_table(const std::string& netns, const std::string& vrf) {
  TRY_ASSIGN(NamespacePort * where, port(netns), "");
  TRY_ASSIGN(const LinkInfo link, need_vrf(where->route(), vrf), "");
  return link.vrf_table;
}

}  // namespace ipsec::netlink
