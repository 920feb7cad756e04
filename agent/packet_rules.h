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
/// kernel does not write DF bits they are left out, which is told. Entries without a value may have several holders.
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

  // What one holder has held so far, and what he holds from now on. An entry stands until its last holder has let go.
  using Clearings = std::set<policy::PacketRules::Clearing>;
  using Seals = std::set<policy::PacketRules::Sealed>;
  void hold_clearings(const std::string& netns, const Clearings& before, const Clearings& after);
  void hold_seals(const std::string& netns, const Seals& before, const Seals& after);

  /// Asks the kernel for what has changed since the last call.
  void apply();
  using Settled = std::function<void(const Status&)>;
  /// The same for one namespace; says how it went when everything that was asked for before has been answered: the
  /// first refusal that nothing has made good since.
  void settle(const std::string& netns, Settled settled);
  /// No rules anywhere.
  void remove_all();
  /// The namespace is gone, or another one has its name: its next rules are put there as a whole.
  void forget(const std::string& netns);
  void collect(const std::string& netns, policy::NamespaceState& state) const;

 private:
  template <typename Entry>
  using Holders = std::map<Entry, size_t>;  // how many
  struct Space {
    policy::PacketRules wanted;
    Holders<policy::PacketRules::Clearing> clearings;
    Holders<policy::PacketRules::Sealed> seals;
    policy::PacketRuleChange pending;
    bool known = false;     // the kernel has, or is about to have, what was wanted before `pending`
    bool standing = false;  // there may be something to remove
    bool told = false;
    size_t unanswered = 0;
    Status refused;  // the first of those that `waiting` is to hear of
    std::vector<Settled> waiting;
  };
  template <typename Key, typename Value>
  void note(const std::string& netns, std::map<Key, Value> policy::PacketRules::*standing,
            std::map<Key, std::optional<Value>> policy::PacketRuleChange::*pending, const Key& key,
            const std::optional<Value>& value);
  template <typename Entry>
  struct Place {
    std::set<Entry> policy::PacketRules::*standing;
    std::map<Entry, bool> policy::PacketRuleChange::*pending;
    Holders<Entry> Space::*holders;
  };
  template <typename Entry>
  void hold(const std::string& netns, const Place<Entry>& place, const std::set<Entry>& before,
            const std::set<Entry>& after);
  enum class Asked : uint8_t { kNothing, kChange, kWhole };
  void apply(const std::string& netns, Space& space);
  void on_answer(const std::string& netns, Asked asked, const Status& status);
  bool can_write_df(const std::string& netns);

  KernelQueue& queue_;
  Complain complain_;
  std::map<std::string, Space> spaces_;
  std::optional<Status> writes_df_;  // once it was asked
  std::set<std::string> df_told_;
};

}  // namespace ipsec::agent
