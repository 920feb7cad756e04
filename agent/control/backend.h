#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "agent/control/server_counters.h"
#include "policy/base/events.h"
#include "policy/base/result.h"

namespace ipsec::agent::control {

/// What the control socket can ask of the daemon. The agent implements it, tests fake it; everything runs on the main
/// thread. Objects are JSON with a stable schema, described in the .varlink file; numbers that are not known are null,
/// never 0.
class Backend {
 public:
  virtual ~Backend() = default;

  /// {"version", "node_id", "started_at", "health": "ok"|"degraded"|"failed", "groups": N,
  ///  "tunnels": {"up", "down", "establishing"}, "carriers": {"up", "idle", "down", "failed", "disabled"}, "ike_sas",
  ///  "child_sas", "orphans", "half_open", "offload": {"packet", "crypto", "software"}, "workers", "warnings": [text],
  ///  "counters": {code: n}}
  virtual nlohmann::json status() = 0;
  /// All objects of a kind: "groups", "tunnels", "sas", "children", "peers", "devices", "credentials", "routes",
  /// "seats", "carriers"; rows with the keys of the interface file. Error kNotFound for an unknown kind.
  virtual Result<nlohmann::json> list(std::string_view kind) = 0;
  /// A part of such a list, so that 100,000 rows neither hold up the daemon nor fill its memory. `after` is "" for the
  /// first part, then `next` of the part before; objects may come and go in between.
  struct Part {
    nlohmann::json rows = nlohmann::json::array();
    std::string next;  ///< Empty: this is the last part.
  };
  virtual Result<Part> list_part(std::string_view kind, [[maybe_unused]] const std::string& after) {
    TRY_ASSIGN(auto rows, list(kind), "");
    return Part{.rows = std::move(rows), .next = {}};
  }
  /// One object in full. Error kNotFound names the nearest known name.
  virtual Result<nlohmann::json> show(std::string_view kind, std::string_view name) = 0;
  /// Brings a tunnel (or one child of it; "" is all) up or down. `done` is called exactly once with the outcome, at the
  /// latest after the tunnel's set-up time; progress meanwhile shows as events.
  using Done = std::function<void(Result<nlohmann::json>)>;
  virtual void up(const std::string& tunnel, const std::string& child, Done done) = 0;
  virtual void down(const std::string& tunnel, const std::string& child, Done done) = 0;
  /// Replaces the SAs of a tunnel's children (or of one; "" is all), or its IKE SA; `done` as above.
  enum class RekeyTarget : uint8_t { kChildren, kIke };
  virtual void rekey([[maybe_unused]] const std::string& tunnel, [[maybe_unused]] const std::string& child,
                     [[maybe_unused]] RekeyTarget target, Done done) {
    const Done answer = std::move(done);
    answer(Error(Reason::kUnsupported, "rekeying on demand"));
  }
  /// Events from a sequence number on; see EventRing::read.
  virtual EventRing::Page events(uint64_t from, size_t most) = 0;
  /// Failed negotiations, the newest first: rows of the interface's type NegotiationFailure. `peer` is an address, an
  /// identity or a tunnel; empty: all, without what was compared. Error kNotFound when nothing is kept of this peer.
  virtual Result<nlohmann::json> explain_negotiation([[maybe_unused]] const std::string& peer) {
    return Error(Reason::kUnsupported, "this daemon keeps no failed negotiations");
  }
  /// Why a tunnel's SAs are on a NIC or not, and where they would go: rows of the interface's type OffloadExplanation.
  virtual Result<nlohmann::json> explain_offload([[maybe_unused]] const std::string& tunnel) {
    return Error(Reason::kUnsupported, "offload is not explained by this daemon");
  }
  /// Where children are to be ("nic", "software", "none"), for good or for one move.
  virtual Result<nlohmann::json> offload_pin([[maybe_unused]] const std::string& tunnel,
                                             [[maybe_unused]] const std::string& child,
                                             [[maybe_unused]] const std::string& pin, [[maybe_unused]] bool one_move) {
    return Error(Reason::kUnsupported, "children cannot be pinned with this daemon");
  }
  /// What differs between what is wanted and what stands in the kernel, now: objects of the interface's type
  /// NamespaceDrift. Error kNotFound for a namespace that is not looked after.
  virtual Result<nlohmann::json> drift([[maybe_unused]] const std::optional<std::string>& netns) {
    return Error(Reason::kUnsupported, "this daemon does not compare");
  }
  /// All numbers as text, lines that end with a newline. `format`: "openmetrics", "prometheus" or "" (the first one).
  /// What only the server knows comes with the call: its counters, and how many clients are connected. Error
  /// kControlBadRequest for another format.
  virtual Result<std::string> metrics([[maybe_unused]] const std::string& format,
                                      [[maybe_unused]] const ServerCounters& counters,
                                      [[maybe_unused]] size_t clients) {
    return Error(Reason::kUnsupported, "this daemon counts nothing");
  }
  /// Checks configuration files without applying them:
  /// {"ok", "errors": [{"file", "line", "pointer", "found", "allowed", "text"}], "warnings": [...]}.
  struct NamedText {
    std::string name, text;
  };
  virtual nlohmann::json config_check(const std::vector<NamedText>& files) = 0;
  /// Reads the daemon's configuration files again and applies them, or only reports what that would change:
  /// config_check's members and "changes": rows of the interface's type TunnelChange. `done` as above: files and
  /// secrets are read while others are served.
  enum class ApplyMode : uint8_t { kApply, kLook };
  virtual void config_apply([[maybe_unused]] ApplyMode mode, Done done) {
    const Done answer = std::move(done);
    answer(Error(Reason::kUnsupported, "this daemon keeps its configuration"));
  }
  /// The configuration in force, secrets by reference.
  virtual nlohmann::json config_effective() = 0;
};

}  // namespace ipsec::agent::control
