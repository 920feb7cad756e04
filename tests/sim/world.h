#pragma once

#include <deque>
#include <functional>
#include <map>
#include <set>

#include "tests/sim/gateway.h"

namespace ipsec::sim {

/// How a run ended.
struct Outcome {
  uint64_t seed = 0;
  std::vector<std::string> violations;
  Tally tally;
  Duration recovery{0};  ///< From the end of the faults until every tunnel was up.
};

struct Scenario {
  uint64_t seed = 1;
  Faults faults;
  Sabotage sabotage = Sabotage::kNone;
  bool print_trace = false;
};

/// Two to four gateways, tunnels between all of them, a network between them that misbehaves, operators who do what
/// they like. All of it follows from the seed.
class World final : private Surroundings {
 public:
  explicit World(const Scenario& scenario);
  Outcome run();

  static constexpr Duration kTrouble = 60s;        ///< How long faults happen.
  static constexpr Duration kRecoveryMost = 120s;  ///< How soon after that every tunnel must be up.
  static constexpr Duration kSettle = 180s;        ///< How long after that until the world is at rest ...
  static constexpr Duration kRestMost = 60s;       ///< ... at some moment, for rekeys go on.

 private:
  // What gateways see of the world.
  Instant now() const override { return now_; }
  void transmit(size_t from, const ike::Path& path, Bytes bytes) override;
  void later(Duration delay, std::function<void()> what) override;
  bool chance(uint32_t in_thousand) override { return in_trouble() && random_.below(1000) < in_thousand; }
  uint64_t below(uint64_t bound) override { return random_.below(bound); }
  const Faults& faults() const override { return scenario_.faults; }
  Sabotage sabotage() const override { return scenario_.sabotage; }
  void saw(Seen kind) override { tally_.add(kind); }
  bool is_sent_on(size_t gateway, uint32_t spi) const override;
  Ledger& ledger() override { return ledger_; }
  void trace(size_t gateway, const std::string& what) override;

  struct Flight {
    size_t from = 0, to = 0;
    ike::Path path;  ///< As the receiver sees it.
    Bytes bytes;
  };
  bool in_trouble() const { return now_ < Instant{kTrouble}; }
  void build();
  std::shared_ptr<const policy::Tunnel> make_tunnel(size_t from, size_t to);
  std::optional<Flight> route(size_t from, const ike::Path& path, Bytes bytes);
  void put_on_wire(Flight flight, Duration delay);
  void deliver(const Flight& flight);
  void forge(const Flight& like);
  void flood();
  bool step(Instant until);
  void each_second();
  void operate();
  void act(size_t gateway, const ike::IkeSaView& view, uint64_t what);
  void collide(size_t a, size_t b);
  bool all_up() const;
  std::vector<std::string> restlessness() const;
  std::vector<const Kernel*> kernels() const;

  Scenario scenario_;
  SeededRandom random_;
  Instant now_{0s};
  Ledger ledger_;
  Tally tally_;
  bool nat_ = false;        ///< Gateway 0 stands behind a NAT.
  uint16_t nat_epoch_ = 0;  ///< Changes when the NAT forgets its mapping.
  std::vector<std::unique_ptr<Gateway>> gateways_;
  std::map<std::pair<Instant, uint64_t>, std::function<void()>> events_;
  uint64_t event_count_ = 0;
  std::deque<Flight> history_;
  std::map<std::pair<size_t, size_t>, Instant> partitioned_until_;
};

}  // namespace ipsec::sim
