#pragma once

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "agent/offload_counts.h"
#include "hwoffload/budget.h"
#include "hwoffload/learnt.h"
#include "hwoffload/placement.h"
#include "policy/config.h"
#include "policy/kernel_port.h"

namespace ipsec::agent {

/// What the daemon knows of NICs: what they are, what they refused, and which child has a place on which. Main thread
/// only. A seat is one child of one tunnel, known by its reqid; it outlives its SAs.
class OffloadBook {
 public:
  /// A look at a device. What could not be read is no news: it stays as it was known.
  struct DeviceLook {
    hwoffload::DeviceFacts facts;
    bool device_read = true;    ///< Also: it is not there.
    bool settings_read = true;  ///< Those by devlink.
  };
  struct Services {
    std::function<DeviceLook(const std::string& netns, const std::string& device)> read_device;
    std::function<hwoffload::KernelFacts(const std::string& netns)> kernel_facts;
  };
  explicit OffloadBook(Services services);

  /// Settings and devices of another configuration; what stands on a device that is not in it any more goes elsewhere.
  void configure(Instant now, const policy::Config& config);

  /// A child that may have a place, or news of it: its group's devices, where its packets leave, its pin.
  void add(Instant now, uint32_t reqid, const policy::Tunnel& tunnel, const std::string& path_device);
  void remove(uint32_t reqid);
  /// Instead of the configured pin, until the daemon ends or `pin` none.
  enum class PinFor : uint8_t {
    kGood,
    kOneMove  ///< Until it is there: then it stays a while (`node.offload.stay`), and is chosen for as all others.
  };
  void pin(uint32_t reqid, policy::OffloadPin pin, PinFor how);

  /// What its SAs are like, inbound and outbound, as far as rules ask: before they are installed. A device that they
  /// rule out in both directions is none of the child's; what could not be carried there does not claim room, pushes
  /// nobody out and is not moved in vain.
  using Needs = std::array<hwoffload::SaNeeds, 2>;
  void set_needs(uint32_t reqid, const Needs& needs);

  /// For an SA that is about to be installed; keeps a place for it.
  hwoffload::Situation situation(Instant now, uint32_t reqid, const policy::Tunnel& tunnel,
                                 const hwoffload::SaNeeds& needs);
  /// The same without keeping anything, for people.
  hwoffload::Situation look(Instant now, uint32_t reqid, const policy::Tunnel& tunnel, const hwoffload::SaNeeds& needs);
  /// An attempt was refused.
  void refused(Instant now, uint32_t reqid, const policy::Tunnel& tunnel, const hwoffload::SaNeeds& needs,
               const hwoffload::Verdict& verdict, int os_errno);
  /// An SA was read back: taken, or kept in software without a word.
  void read_back(Instant now, const policy::Tunnel& tunnel, const hwoffload::SaNeeds& needs,
                 const policy::OffloadRequest& tried, const hwoffload::Effective& effective);
  /// Where both SAs of a child are now.
  void placed(Instant now, uint32_t reqid, const policy::Tunnel& tunnel, const hwoffload::Effective& in,
              const hwoffload::Effective& out);
  /// It stands on the NIC and carries nothing.
  void not_counting(Instant now, uint32_t reqid, const policy::Tunnel& tunnel, const std::string& device);

  void observe(Instant now, uint32_t reqid, uint64_t bytes) { budget_.observe(now, reqid, bytes); }
  /// Moves that are due.
  std::vector<hwoffload::Move> decide(Instant now);

  /// Devices that may be probed and were not yet; asking for them counts as having done so.
  std::vector<std::pair<std::string, std::string>> take_probes();
  void probed(const std::string& netns, const std::string& device, const hwoffload::ProbedDevice& found);
  /// A link changed: what is known of devices is read anew. Whether it is one of ours.
  bool on_link(Instant now, const policy::LinkChanged& change);
  /// Reads all devices anew, for not every setting tells of its change. Whether one has changed.
  bool read_devices(Instant now);
  /// Whether one of our devices is there and up, as far as was heard.
  bool is_usable(const std::string& netns, const std::string& device) const;

  struct DeviceRow {
    std::string netns, name;
    hwoffload::DeviceFacts facts;
    std::optional<hwoffload::DeviceView> view;
    size_t refusals = 0;  ///< That are remembered.
  };
  std::vector<DeviceRow> devices();
  const OffloadCounts& counts() const { return counts_; }
  size_t moves_under_way() const { return budget_.moves_under_way(); }
  std::optional<hwoffload::SeatView> seat(uint32_t reqid) const { return budget_.seat(reqid); }
  hwoffload::KernelFacts kernel_facts(const std::string& netns) { return facts_of_kernel(netns); }
  /// Whether anything may be on a NIC at all.
  bool in_use() const { return !seats_.empty(); }

 private:
  using Device = std::pair<std::string, std::string>;  // namespace, name
  const hwoffload::DeviceFacts& facts(const Device& device);
  const hwoffload::KernelFacts& facts_of_kernel(const std::string& netns);
  void set_room(Instant now, const Device& device);
  hwoffload::DeviceFacts look_at(const Device& device, const hwoffload::DeviceFacts& known);
  bool read_anew(Instant now, const Device& device);
  void suit_again(const Device& device);
  struct Seat;
  bool may_take(const Seat& seat, const std::string& device, std::optional<Instant> lately);
  hwoffload::Situation situation_without_seat(Instant now, uint32_t reqid, const policy::Tunnel& tunnel,
                                              const hwoffload::SaNeeds& needs);
  void seat_again(uint32_t reqid);

  Services services_;
  hwoffload::Budget budget_;
  OffloadCounts counts_;
  std::map<std::string, policy::OffloadDevice> known_;  // node.offload.devices
  std::set<Device> rooms_;                              // that groups name
  std::map<Device, hwoffload::DeviceFacts> facts_;
  std::map<Device, hwoffload::ProbedDevice> probed_;
  std::map<std::string, hwoffload::KernelFacts> kernel_facts_;  // by namespace
  std::map<std::string, hwoffload::LearntRefusals> learnt_;     // by namespace
  struct Seat {
    std::string netns;
    std::vector<std::string> devices;  // of the group
    std::string path_device;
    policy::OffloadMode mode = policy::OffloadMode::kNone;
    std::optional<Needs> needs;
    policy::OffloadPin pin = policy::OffloadPin::kNone;
    std::optional<policy::OffloadPin> operators;  // pin
    bool one_move = false;
    bool asked = false;                                 // for a place
    hwoffload::Place place;                             // of the installation under way
    hwoffload::Why moved = hwoffload::Why::kNotPlaced;  // why the last move was decided
  };
  std::map<uint32_t, Seat> seats_;
};

}  // namespace ipsec::agent
