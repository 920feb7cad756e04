#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "agent/control/server_counters.h"
#include "policy/base/events.h"
#include "policy/base/result.h"

namespace ipsec::agent::control {

/// The rows of a list, made as the client reads them, so that 100,000 rows neither hold up the daemon nor fill its
/// memory. Objects may come and go between two calls: a row is of the moment at which it is made.
class RowSource {
 public:
  virtual ~RowSource() = default;
  /// Adds some rows, at most `kRowsPerStep`, with work for about as many; perhaps none, and yet there are more.
  enum class More : uint8_t { kNo, kYes };
  virtual More next(std::vector<nlohmann::json>& rows) = 0;
};

/// An answer that may take long, made in steps: called again until it has one. A step costs about as much as
/// `kRowsPerStep` rows.
using Work = std::function<std::optional<Result<nlohmann::json>>()>;
/// Work that is done in one step.
inline Work done_at_once(Result<nlohmann::json> answer) {
  return [answer = std::move(answer)] { return std::optional(answer); };
}

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
  virtual Work status() = 0;
  /// All objects of a kind: "groups", "tunnels", "sas", "children", "peers", "devices", "credentials", "routes",
  /// "seats", "carriers"; rows with the keys of the interface file. Error kNotFound for an unknown kind.
  virtual Result<std::unique_ptr<RowSource>> list(std::string_view kind) = 0;
  /// One object in full. Error kNotFound names some that there are.
  virtual Work show(std::string_view kind, std::string_view name) = 0;
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
  /// NamespaceDrift. Error kNotFound for a namespace that is not looked after. `done` is called once with a function
  /// that makes the answer, for any thread: there may be very many rows.
  using Maker = std::function<Result<nlohmann::json>()>;
  virtual void drift([[maybe_unused]] const std::optional<std::string>& netns, std::function<void(Maker)> done) {
    done([] { return Error(Reason::kUnsupported, "this daemon does not compare"); });
  }
  /// Declares ours what bears our marks and no journal names: {"adopted": N}. Errors as of drift().
  virtual Work drift_adopt([[maybe_unused]] const std::optional<std::string>& netns) {
    return done_at_once(Error(Reason::kUnsupported, "this daemon adopts nothing"));
  }
  /// All numbers as one text, lines that end with a newline. `format`: "openmetrics", "prometheus" or "" (the first
  /// one). What only the server knows comes with the call: its counters, and how many clients are connected. Error
  /// kControlBadRequest for another format.
  virtual Work metrics([[maybe_unused]] const std::string& format, [[maybe_unused]] const ServerCounters& counters,
                       [[maybe_unused]] size_t clients) {
    return done_at_once(Error(Reason::kUnsupported, "this daemon counts nothing"));
  }
  /// Checks configuration files without applying them:
  /// {"ok", "errors": [{"file", "line", "column", "pointer", "found", "allowed", "text"}], "warnings": [...]}.
  struct NamedText {
    std::string name, text;
  };
  /// Called on a thread of its own, beside all others: it sees nothing but its argument.
  virtual nlohmann::json config_check(const std::vector<NamedText>& files) const = 0;
  /// Runs `work` on a thread for what takes long, then `then` on the main thread.
  virtual void aside(std::function<void()> work, std::function<void()> then) = 0;
  /// Reads the daemon's configuration files again and applies them, or only reports what that would change:
  /// config_check's members and "changes": rows of the interface's type TunnelChange. `done` as above: files and
  /// secrets are read while others are served.
  enum class ApplyMode : uint8_t { kApply, kLook };
  virtual void config_apply([[maybe_unused]] ApplyMode mode, Done done) {
    const Done answer = std::move(done);
    answer(Error(Reason::kUnsupported, "this daemon keeps its configuration"));
  }
  /// The configuration in force, secrets by reference: all but the tunnels, and these as pairs of name and object.
  struct Effective {
    nlohmann::json common;
    std::unique_ptr<RowSource> tunnels;
  };
  virtual Effective config_effective() = 0;
};

}  // namespace ipsec::agent::control
