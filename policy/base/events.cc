#include "policy/base/events.h"

#include <algorithm>

namespace ipsec {

uint64_t EventRing::append(Event event) {
  event.sequence = next_++;
  events_.push_back(std::move(event));
  if (events_.size() > capacity_) events_.pop_front();
  return next_ - 1;
}

EventRing::Page EventRing::read(uint64_t from, size_t most) const {
  Page page;
  const uint64_t oldest = next_ - events_.size();
  if (from > 1 && from < oldest) page.lost = oldest - from;
  const uint64_t start = std::clamp(from, oldest, next_);
  const size_t count = std::min<size_t>(most, next_ - start);
  const auto first = events_.begin() + static_cast<std::ptrdiff_t>(start - oldest);
  page.events.assign(first, first + static_cast<std::ptrdiff_t>(count));
  page.next = start + count;
  return page;
}

}  // namespace ipsec
