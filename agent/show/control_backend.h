#pragma once

#include "agent/agent.h"
#include "agent/config_loader.h"
#include "agent/control/backend.h"
#include "agent/metrics/exposition.h"
#include "agent/show/census.h"
#include "agent/show/status_json.h"

namespace ipsec::agent {

/// What the control socket shows of a running agent, and does to it. Rows have the keys of
/// agent/control/net.ipsecd.control.varlink. Whatever grows with the number of tunnels is made in steps.
class ControlBackend final : public control::Backend {
 public:
  explicit ControlBackend(Agent& agent);

  control::Work status() override;
  control::Work metrics(const std::string& format, const control::ServerCounters& counters, size_t clients) override;
  Result<std::unique_ptr<control::RowSource>> list(std::string_view kind) override;
  control::Work show(std::string_view kind, std::string_view name) override;
  void up(const std::string& tunnel, const std::string& child, Done done) override;
  void down(const std::string& tunnel, const std::string& child, Done done) override;
  void rekey(const std::string& tunnel, const std::string& child, RekeyTarget target, Done done) override;
  EventRing::Page events(uint64_t from, size_t most) override { return agent_.events().read(from, most); }
  Result<nlohmann::json> explain_negotiation(const std::string& peer) override;
  Result<nlohmann::json> explain_offload(const std::string& tunnel) override;
  Result<nlohmann::json> offload_pin(const std::string& tunnel, const std::string& child, const std::string& pin,
                                     bool one_move) override;
  void drift(const std::optional<std::string>& netns, std::function<void(Maker)> done) override;
  control::Work drift_adopt(const std::optional<std::string>& netns) override;
  nlohmann::json config_check(const std::vector<NamedText>& files) const override;
  void aside(std::function<void()> work, std::function<void()> then) override;
  void config_apply(ApplyMode mode, Done done) override;
  Effective config_effective() override;

 private:
  control::Work show_tunnel(const TunnelRow& row);
  StatusFacts status_facts() const;
  std::string metrics_text(const Census& census, const control::ServerCounters& counters, size_t clients,
                           metrics::Format format, Instant begun);
  Agent& agent_;
  DiskThread checks_;  ///< Documents of clients are checked there: not where the daemon loads its own.
};

}  // namespace ipsec::agent
