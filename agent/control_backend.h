#pragma once

#include "agent/agent.h"
#include "agent/control/backend.h"

namespace ipsec::agent {

/// What the control socket shows of a running agent, and does to it. Rows have the keys of
/// agent/control/net.ipsecd.control.varlink.
class ControlBackend final : public control::Backend {
 public:
  explicit ControlBackend(Agent& agent) : agent_(agent) {}

  nlohmann::json status() override;
  Result<std::string> metrics(const std::string& format, const control::ServerCounters& counters,
                              size_t clients) override;
  Result<nlohmann::json> list(std::string_view kind) override;
  Result<nlohmann::json> show(std::string_view kind, std::string_view name) override;
  void up(const std::string& tunnel, const std::string& child, Done done) override;
  void down(const std::string& tunnel, const std::string& child, Done done) override;
  void rekey(const std::string& tunnel, const std::string& child, RekeyTarget target, Done done) override;
  EventRing::Page events(uint64_t from, size_t most) override { return agent_.events().read(from, most); }
  Result<nlohmann::json> explain_negotiation(const std::string& peer) override;
  Result<nlohmann::json> explain_offload(const std::string& tunnel) override;
  Result<nlohmann::json> offload_pin(const std::string& tunnel, const std::string& child, const std::string& pin,
                                     bool one_move) override;
  Result<nlohmann::json> drift(const std::optional<std::string>& netns) override;
  nlohmann::json config_check(const std::vector<NamedText>& files) override;
  void config_apply(ApplyMode mode, Done done) override;
  nlohmann::json config_effective() override;

 private:
  nlohmann::json tunnel_row(const TunnelRow& row) const;
  Result<nlohmann::json> outcome_of(const std::string& tunnel) const;
  nlohmann::json peer_row(const IkeRow& row) const;
  nlohmann::json group_row(const policy::TunnelGroup& group) const;
  nlohmann::json tunnels() const;
  nlohmann::json groups() const;
  nlohmann::json sas();
  nlohmann::json children() const;
  nlohmann::json peers() const;
  nlohmann::json credentials() const;
  nlohmann::json routes() const;
  Agent& agent_;
};

/// "2026-11-21T05:30:00.123Z".
std::string to_rfc3339(WallTime time);

}  // namespace ipsec::agent
