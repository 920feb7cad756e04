#include "agent/journal_watch.h"

#include "agent/event_loop.h"
#include "agent/limits.h"

namespace ipsec::agent {

JournalAnnounce announce_by(Log& log, EventRing& events, Counters& counters) {
  return [&log, &events, &counters](Reason reason, std::vector<Field> fields) {
    counters.add(reason);
    std::vector<Field> all{field("code", std::string(code(reason)))};
    all.insert(all.end(), fields.begin(), fields.end());
    log.warning(info(reason).text, all);
    events.append({.time = wall_now(), .object = {}, .reason = reason, .fields = std::move(fields)});
  };
}

void JournalWatch::report_loss(size_t objects) {
  announce_(Reason::kJournalMissing, {field("path", path_), field("objects", uint64_t{objects})});
}

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
