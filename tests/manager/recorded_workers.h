#pragma once

#include <vector>

#include "agent/worker_port.h"

namespace ipsec::testing {

/// What the manager asked of the workers, in order.
class RecordedWorkers final : public agent::WorkerPort {
 public:
  struct IkeClosed {
    size_t worker;
    ike::IkeSaId ike;
    Reason reason;
    ike::CloseMode mode;
  };
  struct ChildClosed {
    size_t worker;
    ike::IkeSaId ike;
    ike::ChildId child;
    Reason reason;
  };
  struct Rekeyed {
    size_t worker;
    ike::IkeSaId ike;
    ike::ChildId child;  ///< 0: the IKE SA.
    Reason reason;
  };
  struct Used {
    size_t worker;
    ike::IkeSaId ike;
    ike::ChildId child;
  };
  void create_child(size_t, Creation creation) override { creations.push_back(std::move(creation)); }
  void rekey_child(size_t worker, ike::IkeSaId ike, ike::ChildId child, Reason reason) override {
    rekeys.push_back({worker, ike, child, reason});
  }
  void rekey_ike(size_t worker, ike::IkeSaId ike, Reason reason) override {
    rekeys.push_back({worker, ike, {}, reason});
  }
  void inbound_used(size_t worker, ike::IkeSaId ike, ike::ChildId child) override {
    used_inbound.push_back({worker, ike, child});
  }
  void child_used(size_t worker, ike::IkeSaId ike, ike::ChildId child) override {
    used.push_back({worker, ike, child});
  }
  void initiate(size_t worker, Initiation initiation) override {
    initiations.push_back(std::move(initiation));
    initiation_workers.push_back(worker);
  }
  void answer(size_t, ike::Answer answer) override { answers.push_back(std::move(answer)); }
  void close_ike(size_t worker, ike::IkeSaId ike, Reason reason, ike::CloseMode mode) override {
    closed_ikes.push_back({worker, ike, reason, mode});
  }
  void close_child(size_t worker, ike::IkeSaId ike, ike::ChildId child, Reason reason) override {
    closed_children.push_back({worker, ike, child, reason});
  }
  void check_liveness(size_t worker, ike::IkeSaId ike) override { asked_for_life.push_back({worker, ike, {}}); }
  size_t workers() const override { return 2; }

  std::vector<Initiation> initiations;
  std::vector<size_t> initiation_workers;
  std::vector<ike::Answer> answers;
  std::vector<IkeClosed> closed_ikes;
  std::vector<ChildClosed> closed_children;
  std::vector<Creation> creations;
  std::vector<Rekeyed> rekeys;
  std::vector<Used> used_inbound, used, asked_for_life;
};

}  // namespace ipsec::testing
