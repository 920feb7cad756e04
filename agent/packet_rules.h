#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "agent/kernel_queue.h"
#include "policy/desired_state.h"

namespace ipsec::agent {

/// What packet rules are wanted in each namespace, and how far the kernel knows of it: the first ones of a namespace
/// are put there as a whole, later ones as the change that they are, the last ones take the table with them. Where the
/// kernel does not write DF bits they are left out, which is told.
class PacketRuleBook {
 public:
  /// The kernel has refused the rules of a namespace; told once until it takes them.
  using Complain = std::function<void(const std::string& netns, const Error& why)>;
  PacketRuleBook(KernelQueue& queue, Complain complain) : queue_(queue), complain_(std::move(complain)) {}

  // Nothing: none any more. Taken note of, until apply().
  void clamp_interface(const std::string& netns, const std::string& interface, std::optional<policy::MssLimits> limits);
  void clamp_reqid(const std::string& netns, uint32_t reqid, std::optional<policy::MssLimits> limits);
  void write_outer(const std::string& netns, const policy::SaKey& key, std::optional<policy::OuterHeader> header);
  bool has_outer(const std::string& netns, const policy::SaKey& key) const;
  enum class Wanted : uint8_t { kYes, kNo };
  void clear_inner_df(const std::string& netns, const policy::PacketRules::Clearing& clearing, Wanted wanted);

  void seal(const std::string& netns, const policy::PacketRules::Sealed& pair, Wanted wanted);

  /// Asks the kernel for what has changed since the last call.
  void apply();
  using Settled = std::function<void(const Status&)>;
  /// The same for one namespace; says how it went when everything that was asked for before has been answered.
  void settle(const std::string& netns, Settled settled);
  /// No rules anywhere.
  void remove_all();
  /// The namespace is gone, or another one has its name: its next rules are put there as a whole.
  void forget(const std::string& netns);
  void collect(const std::string& netns, policy::NamespaceState& state) const;

 private:
  struct Space {
    policy::PacketRules wanted;
    policy::PacketRuleChange pending;
    bool known = false;     // the kernel has, or is about to have, what was wanted before `pending`
    bool standing = false;  // there may be something to remove
    bool told = false;
    size_t unanswered = 0;
    std::vector<Settled> waiting;
  };
  template <typename Key, typename Value>
  void note(const std::string& netns, std::map<Key, Value> policy::PacketRules::*standing,
            std::map<Key, std::optional<Value>> policy::PacketRuleChange::*pending, const Key& key,
            const std::optional<Value>& value);
  template <typename Key>
  void note(const std::string& netns, std::set<Key> policy::PacketRules::*standing,
            std::map<Key, bool> policy::PacketRuleChange::*pending, const Key& key, Wanted wanted);
  void apply(const std::string& netns, Space& space);
  void on_answer(const std::string& netns, const Status& status);
  bool can_write_df(const std::string& netns);

  KernelQueue& queue_;
  Complain complain_;
  std::map<std::string, Space> spaces_;
  std::optional<Status> writes_df_;  // once it was asked
  std::set<std::string> df_told_;
};

}  // namespace ipsec::agent
