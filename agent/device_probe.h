#pragma once

#include <functional>
#include <memory>
#include <string>

#include "agent/kernel_queue.h"
#include "hwoffload/device.h"

namespace ipsec::agent {

/// Asks a device what it takes by giving it a trial: an SA of each kind and direction between documentation addresses
/// (RFC 5737), with a key that protects nothing, and a policy that blocks one of these addresses; each is read back,
/// taken out again, and looked for once more. Only where an operator allows it for the device: a trial takes a place of
/// its table for a moment. How much the table holds is never found out by filling it.
class DeviceProbe {
 public:
  using Done = std::function<void(const hwoffload::ProbedDevice&)>;
  /// `done` is called once; what could not be asked is unknown, with the kernel's words.
  static void run(KernelQueue& queue, const std::string& netns, const std::string& device, Done done);

 private:
  struct Trial;
  static void next(const std::shared_ptr<Trial>& trial);
  static void on_sa(const std::shared_ptr<Trial>& trial, const Result<policy::KernelReply>& reply);
  static void on_policy(const std::shared_ptr<Trial>& trial, const Status& added);
};

}  // namespace ipsec::agent
