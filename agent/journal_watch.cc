#include "agent/journal_watch.h"

#include "agent/limits.h"

namespace ipsec::agent {

void JournalWatch::run(Instant now, uint64_t growths, const std::function<netlink::JournalRoom()>& check) {
  const bool has_grown = growths != growths_ && !is_low_;  // while space is short, each try would count
  if (next_ && now < *next_ && !has_grown) return;
  growths_ = growths;
  const netlink::JournalRoom room = check();
  next_ = now + (room.is_low ? kJournalCheckLow : kJournalCheck);
  if (room.is_low == is_low_) return;
  is_low_ = room.is_low;
  std::vector<Field> fields{field("path", path_), field("free", room.free_bytes)};
  if (is_low_) fields.push_back(field("refuses", std::string(room.refuses ? "yes" : "no")));
  announce_(is_low_ ? Reason::kJournalRoom : Reason::kJournalRoomAgain, std::move(fields));
}

}  // namespace ipsec::agent
