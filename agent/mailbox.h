#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <vector>

#include "agent/limits.h"

namespace ipsec::agent {

/// What one thread is to do for another.
struct Letter {
  std::function<void()> open;
  size_t bytes = 0;  ///< Of memory that it holds, roughly.
};

/// Letters from many threads to one reader, in the order in which they came; those of one writer keep theirs. Bounded
/// in number and bytes: a full mailbox takes nothing, and nobody waits inside. Who was turned away is told once there
/// is room again. `offer` is for any thread, `open_some` for the reader's.
class Mailbox {
 public:
  struct Limits {
    size_t letters = kMailboxLettersMax;
    size_t bytes = kMailboxBytesMax;
  };
  /// `wake`: has the reader call open_some() soon. Called on a writer's thread when the first letter comes, and not
  /// again before open_some() has returned false.
  explicit Mailbox(std::function<void()> wake) : Mailbox(std::move(wake), Limits{}) {}
  Mailbox(std::function<void()> wake, Limits limits) : wake_(std::move(wake)), limits_(limits) {}

  /// Takes the letter; false when there is no room for it: then it stays with the caller, and `when_room` is called on
  /// the reader's thread as soon as half of the room is free. An empty mailbox takes any letter.
  bool offer(Letter& letter, const std::function<void()>& when_room);
  /// Opens at most `most` letters, oldest first. Whether some are left: then the reader calls again, after its other
  /// work.
  bool open_some(size_t most);

  size_t letters() const;
  size_t bytes() const;

 private:
  bool has_room(size_t bytes) const;
  const std::function<void()> wake_;
  const Limits limits_;
  mutable std::mutex mutex_;
  std::deque<Letter> letters_;
  size_t bytes_ = 0;
  bool awake_ = false;  ///< The reader has been told, and will look until nothing is left.
  std::vector<std::function<void()>> turned_away_;
};

}  // namespace ipsec::agent
