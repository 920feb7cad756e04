#include "netlink/xfrm_kernel.h"

#include <algorithm>

#include "netlink/links.h"

namespace ipsec::netlink {

Result<std::unique_ptr<XfrmKernel>> XfrmKernel::create(const Options& options) {
  std::string boot_id = options.boot_id;
  if (boot_id.empty()) {
    TRY_ASSIGN(boot_id, Journal::read_boot_id(), "");
  }
  TRY_ASSIGN(Journal journal, Journal::open(options.journal_path, boot_id), "");
  return std::unique_ptr<XfrmKernel>(new XfrmKernel(options, std::move(journal)));
}

Result<NamespacePort*> XfrmKernel::port(const std::string& netns) {
  if (const auto found = ports_.find(netns); found != ports_.end()) return found->second.get();
  if (ports_.size() >= kNamespacesMax)
    return Error(Reason::kLimitReached, std::to_string(kNamespacesMax) + " namespaces are open");
  TRY_ASSIGN(auto opened,
             NamespacePort::open({.netns = netns, .receive_buffer_bytes = options_.receive_buffer_bytes}, journal_,
                                 completions_),
             "");
  fds_changed_ = true;
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
  (*where)->submit(std::move(operation));
}

void XfrmKernel::flush() {
  for (auto& [netns, each] : ports_) each->flush();
}

std::optional<policy::KernelCompletion> XfrmKernel::poll_completion() {
  if (completions_.empty()) return std::nullopt;
  policy::KernelCompletion completion = std::move(completions_.front());
  completions_.pop_front();
  return completion;
}

std::optional<policy::KernelEvent> XfrmKernel::poll_event() {
  auto event = events_.pop();
  // What the kernel has ended is no longer ours to delete.
  if (event)
    if (const auto* expired = std::get_if<policy::SaExpired>(&*event); expired != nullptr && expired->hard)
      (void)journal_.forget(journal_key(expired->netns, expired->key));  // at worst a stale line: deleting is compared
  return event;
}

Result<std::vector<policy::SaState>> XfrmKernel::dump_sas(const std::string& netns) {
  TRY_ASSIGN(NamespacePort * where, port(netns), "read all SAs");
  return where->dump_sas();
}

Result<std::vector<policy::PolicyConfig>> XfrmKernel::dump_policies(const std::string& netns) {
  TRY_ASSIGN(NamespacePort * where, port(netns), "read all policies");
  return where->dump_policies();
}

std::vector<int> XfrmKernel::poll_fds() const {
  std::vector<int> fds;
  for (const auto& [netns, each] : ports_) fds.push_back(each->xfrm_fd());
  for (const auto& [netns, source] : sources_) {
    fds.push_back(source.xfrm_fd());
    fds.push_back(source.link_fd());
  }
  return fds;
}

void XfrmKernel::process() {
  const auto now = std::chrono::steady_clock::now();
  for (auto& [netns, each] : ports_) {
    each->process(now);
    if (each->take_overrun()) events_.resync(netns);
  }
  for (auto& [netns, source] : sources_) source.drain(events_);
}

bool XfrmKernel::busy() const {
  return std::ranges::any_of(ports_, [](const auto& entry) { return !entry.second->idle(); });
}

Status XfrmKernel::watch(const std::string& netns) {
  if (sources_.contains(netns)) return {};
  TRY_ASSIGN(EventSource source, EventSource::open(netns, options_.receive_buffer_bytes), "");
  sources_.emplace(netns, std::move(source));
  fds_changed_ = true;
  events_.resync(netns);
  return {};
}

Status XfrmKernel::leave(const std::string& netns, Leave how) {
  if (const auto found = ports_.find(netns); found != ports_.end()) {
    found->second->flush();
    ports_.erase(found);
    fds_changed_ = true;
  }
  if (sources_.erase(netns) != 0) fds_changed_ = true;
  return how == Leave::kIsGone ? journal_.forget_namespace(netns) : Status{};
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

Result<bool> XfrmKernel::address_exists(const std::string& netns, const IpAddress& address) {
  TRY_ASSIGN(NamespacePort * where, port(netns), "");
  return has_address(where->route(), address);
}

Result<LinkInfo> XfrmKernel::device(const std::string& netns, const std::string& name) {
  TRY_ASSIGN(NamespacePort * where, port(netns), "");
  return need_link(where->route(), name);
}

Result<uint32_t> XfrmKernel::vrf_table(const std::string& netns, const std::string& vrf) {
  TRY_ASSIGN(NamespacePort * where, port(netns), "");
  TRY_ASSIGN(const LinkInfo link, need_vrf(where->route(), vrf), "");
  return link.vrf_table;
}

}  // namespace ipsec::netlink
