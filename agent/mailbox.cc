#include "agent/mailbox.h"

#include <utility>

namespace ipsec::agent {

bool Mailbox::has_room(size_t bytes) const {
  if (letters_.empty()) return true;
  return letters_.size() < limits_.letters && bytes_ + bytes <= limits_.bytes;
}

bool Mailbox::offer(Letter& letter, const std::function<void()>& when_room) {
  bool first = false;
  {
    const std::lock_guard lock(mutex_);
    // Behind somebody who waits there is no room either: otherwise small letters would keep a large one out for ever.
    if (!turned_away_.empty() || !has_room(letter.bytes)) {
      turned_away_.push_back(when_room);
      return false;
    }
    bytes_ += letter.bytes;
    letters_.push_back(std::move(letter));
    first = !std::exchange(awake_, true);
  }
  if (first) wake_();
  return true;
}

bool Mailbox::open_some(size_t most) {
  std::vector<Letter> now;
  std::vector<std::function<void()>> invited;
  bool left = false;
  {
    const std::lock_guard lock(mutex_);
    while (!letters_.empty() && now.size() < most) {
      bytes_ -= letters_.front().bytes;
      now.push_back(std::move(letters_.front()));
      letters_.pop_front();
    }
    if (letters_.size() <= limits_.letters / 2 && bytes_ <= limits_.bytes / 2) invited.swap(turned_away_);
    left = awake_ = !letters_.empty();
  }
  // Invited first: they fill the mailbox while the reader is busy.
  for (const auto& each : invited) each();
  for (Letter& each : now) {
    each.open();
    each = {};  // what it holds is over, too
  }
  return left;
}

size_t Mailbox::letters() const {
  const std::lock_guard lock(mutex_);
  return letters_.size();
}

size_t Mailbox::bytes() const {
  const std::lock_guard lock(mutex_);
  return bytes_;
}

}  // namespace ipsec::agent
