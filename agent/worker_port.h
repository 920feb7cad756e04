#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "ike/engine.h"

namespace ipsec::agent {

/// What the manager asks of the workers. The agent posts it to their threads; tests record it.
class WorkerPort {
 public:
  virtual ~WorkerPort() = default;
  using Trigger = std::optional<std::pair<policy::TrafficSelector, policy::TrafficSelector>>;
  struct Initiation {
    std::shared_ptr<const policy::Tunnel> tunnel;
    std::string child;
    Trigger trigger;
    ike::Contact contact = ike::Contact::kFurther;
  };
  /// Begins an IKE SA on one worker; `on_initiated` of the manager is called with the outcome.
  virtual void initiate(size_t worker, Initiation initiation) = 0;
  struct Creation {
    ike::IkeSaId ike;
    std::string tunnel, child;
    Trigger trigger;
    policy::SelectorPair only = {};  ///< Instead of all that is configured.
  };
  /// Adds a child to an IKE SA that stands; `on_creating` of the manager is called with what the engine says at once.
  virtual void create_child(size_t worker, Creation creation) = 0;
  virtual void answer(size_t worker, ike::Answer answer) = 0;
  virtual void close_ike(size_t worker, ike::IkeSaId ike, Reason reason, ike::CloseMode mode) = 0;
  virtual void close_child(size_t worker, ike::IkeSaId ike, ike::ChildId child, Reason reason) = 0;
  virtual void rekey_child(size_t worker, ike::IkeSaId ike, ike::ChildId child, Reason reason) = 0;
  virtual void rekey_ike(size_t worker, ike::IkeSaId ike, Reason reason) = 0;
  virtual void inbound_used(size_t worker, ike::IkeSaId ike, ike::ChildId child) = 0;
  virtual void child_used(size_t worker, ike::IkeSaId ike, ike::ChildId child) = 0;
  /// Asks the peer for a sign of life; without one the IKE SA ends.
  virtual void check_liveness(size_t worker, ike::IkeSaId ike) = 0;
  virtual size_t workers() const = 0;
};

}  // namespace ipsec::agent
