#include "agent/device_probe.h"

#include <array>
#include <cerrno>

namespace ipsec::agent {
namespace {

using hwoffload::Known;
using hwoffload::ProbedDevice;
using policy::Direction;
using policy::OffloadKind;

constexpr uint32_t kTrialSpi = 255;  // reserved: no SA that is negotiated has it
constexpr uint32_t kTrialReqid = 0x7fffffff;

struct Step {
  OffloadKind kind;
  Direction direction;
};
constexpr std::array kSteps = {Step{OffloadKind::kCrypto, Direction::kIn}, Step{OffloadKind::kCrypto, Direction::kOut},
                               Step{OffloadKind::kPacket, Direction::kIn}, Step{OffloadKind::kPacket, Direction::kOut}};

const IpAddress kHere = IpAddress::v4(0xc63364fe), kThere = IpAddress::v4(0xcb0071fe);  // 198.51.100.254, 203.0.113.254

policy::SaConfig trial_sa(const Step& step, const std::string& device) {
  const bool out = step.direction == Direction::kOut;
  policy::SaConfig sa;
  sa.key = {out ? kThere : kHere, policy::ChildSpi(kTrialSpi)};
  sa.source = out ? kHere : kThere;
  sa.direction = step.direction;
  sa.suite = {policy::kEncrAesGcm16, 128, policy::kAuthNone, false};
  sa.reqid = kTrialReqid;
  sa.replay_window = out ? 0 : 32;
  sa.offload = {step.kind, device};
  sa.keys = Secret(sa.suite.key_material_bytes());  // zeros: nothing is ever sent with it
  return sa;
}

policy::PolicyConfig trial_policy(const std::string& device) {
  policy::PolicyConfig policy;
  policy.key = {.source = {kHere, 32}, .destination = {kThere, 32}, .direction = Direction::kOut};
  policy.priority = 1;
  policy.action = policy::PolicyAction::kBlock;
  policy.has_template = false;
  policy.offload = {OffloadKind::kPacket, device};
  return policy;
}

}  // namespace

struct DeviceProbe::Trial {
  KernelQueue& queue;
  std::string netns, device;
  Done done;
  ProbedDevice found;
  size_t step = 0;
};

void DeviceProbe::run(KernelQueue& queue, const std::string& netns, const std::string& device, Done done) {
  next(std::make_shared<Trial>(Trial{queue, netns, device, std::move(done), {}}));
}

void DeviceProbe::next(const std::shared_ptr<Trial>& trial) {
  if (trial->step < kSteps.size())
    return trial->queue.submit(trial->netns, policy::AddSa{trial_sa(kSteps[trial->step], trial->device)},
                               [trial](const Result<policy::KernelReply>& reply) { on_sa(trial, reply); });
  trial->queue.submit(trial->netns, policy::AddPolicy{trial_policy(trial->device)},
                      [trial](Result<policy::KernelReply> reply) {
                        on_policy(trial, reply.ok() ? Status() : Status(std::move(reply).error()));
                      });
}

void DeviceProbe::on_sa(const std::shared_ptr<Trial>& trial, const Result<policy::KernelReply>& reply) {
  const Step& step = kSteps[trial->step];
  ProbedDevice::Answer& answer = trial->found.of(step.kind, step.direction);
  const auto* state = reply.ok() ? std::get_if<policy::SaState>(&*reply) : nullptr;
  if (state != nullptr) {
    answer.known = state->offload == step.kind ? Known::kYes : Known::kNo;
    if (answer.known == Known::kNo) answer.words = "accepted, and kept in software";
  } else if (!reply.ok()) {
    const bool refused = reply.error().os_errno() == EINVAL || reply.error().os_errno() == EOPNOTSUPP;
    answer = {refused ? Known::kNo : Known::kUnknown, reply.error().text()};
  }
  const policy::SaKey key = trial_sa(step, trial->device).key;
  ++trial->step;
  trial->queue.submit(trial->netns, policy::DeleteSa{key}, {});
  trial->queue.submit(trial->netns, policy::ReadSa{key}, [trial](const Result<policy::KernelReply>& gone) {
    if (gone.ok()) trial->found.left_behind = true;
    next(trial);
  });
}

void DeviceProbe::on_policy(const std::shared_ptr<Trial>& trial, const Status& added) {
  trial->found.policy =
      added.ok() ? ProbedDevice::Answer{Known::kYes, {}} : ProbedDevice::Answer{Known::kNo, added.error().text()};
  trial->queue.submit(trial->netns, policy::DeletePolicy{trial_policy(trial->device).key},
                      [trial](const Result<policy::KernelReply>& gone) {
                        if (!gone.ok()) trial->found.left_behind = true;
                        trial->found.asked = true;
                        trial->done(trial->found);
                      });
}

}  // namespace ipsec::agent
