#include "policy/reconciler.h"

#include <algorithm>

#include "policy/limits.h"

namespace ipsec::policy {
namespace {

/// What comes back some day without our doing.
bool is_absence(const Error& error) {
  return error.reason() == Reason::kNamespaceMissing || error.reason() == Reason::kVrfMissing ||
         error.reason() == Reason::kDeviceMissing;
}

}  // namespace

Duration Reconciler::vary(Duration pause) { return pause * (750 + static_cast<int64_t>(random_.below(501))) / 1000; }

Duration Reconciler::pause(uint32_t tries, Duration first, Duration most) {
  constexpr uint32_t kDoublingsMax = 16;
  return vary(std::min(most, first * (int64_t{1} << std::min(tries, kDoublingsMax))));
}

void Reconciler::read_at(Instant when) { read_at_ = read_at_ ? std::min(*read_at_, when) : when; }

bool Reconciler::read_due(Instant now) const { return pending_.empty() && read_at_ && *read_at_ <= now; }

std::optional<Instant> Reconciler::next_deadline() const { return pending_.empty() ? read_at_ : pending_deadline_; }

std::optional<ReconcilerAction> Reconciler::poll() {
  if (actions_.empty()) return std::nullopt;
  ReconcilerAction action = std::move(actions_.front());
  actions_.pop_front();
  return action;
}

void Reconciler::hint(Instant now, Hint hint) {
  if (hint == Hint::kReturned) failures_ = 0;
  if (hint != Hint::kPerhaps && !troubled_since_) troubled_since_ = now;
  // Where mending fails, signs of trouble must not hurry us on: each try may bring the next one.
  const Duration gap = hint == Hint::kPerhaps || failures_ != 0 ? kReadGap : kReadGapShort;
  read_at(last_read_ ? std::max(now, *last_read_ + std::max(gap, kReadRest * read_took_)) : now);
}

bool Reconciler::may_repair(Instant now) {
  if (state_ == State::kAwaiting || !pending_.empty()) return false;
  if (now - repairs_since_ >= kReadGap) {
    repairs_since_ = now;
    repairs_ = 0;
  }
  return ++repairs_ <= kKeyedRepairsMax;
}

void Reconciler::on_repaired(Instant now, const ChangeText& what) {
  ++mended_;
  actions_.emplace_back(ReportMended{what});
  if (!troubled_since_) troubled_since_ = now;
  read_at(now + std::max(kReadGap, kReadRest * read_took_));
}

void Reconciler::on_sa_gone(Instant now, const SaKey& key) {
  Replacement& each = replacements_.try_emplace(key, Replacement{.next = now}).first->second;
  if (!troubled_since_) troubled_since_ = now;
  if (each.next <= now) {
    actions_.emplace_back(ReplaceSa{key, each.tries});
    each.next = now + pause(each.tries++, kReplaceSaFirst, kReplaceSaMost);
  }
  read_at(each.next);
}

void Reconciler::on_read(Instant now, StateDiff difference, size_t objects, Duration took) {
  last_read_ = now;
  read_took_ = took;
  read_at_.reset();
  if (difference.empty()) return become_synced(now, objects);
  state_ = State::kSyncing;
  if (!troubled_since_) troubled_since_ = now;
  replace_missing(now, difference.missing);
  if (difference.changes.empty()) {
    failures_ = 0;
    obstacle_.reset();
    left_before_ = SIZE_MAX;
    if (difference.more != 0) read_at(now + kReadGap);
    return;
  }
  const size_t left = difference.changes.size() + difference.more;
  if (left < left_before_)
    failures_ = 0;
  else if (!round_error_)  // all that was tried succeeded, and yet no less is to be done: somebody works against us
    ++failures_;
  left_before_ = left;
  round_error_.reset();
  const size_t count = std::min(difference.changes.size(), kChangesPerRound);
  for (size_t i = 0; i < count; ++i) {
    KernelChange& change = difference.changes[i];
    pending_.emplace(++last_id_, Pending{change_text(change)});
    actions_.emplace_back(SubmitChange{last_id_, std::move(change)});
  }
  pending_deadline_ = now + kRoundTimeout;
}

void Reconciler::replace_missing(Instant now, const std::vector<SaKey>& missing) {
  std::map<SaKey, Replacement> still;
  size_t asked = 0;
  for (const SaKey& key : missing) {
    const auto known = replacements_.find(key);
    Replacement each = known != replacements_.end() ? known->second : Replacement{.next = now};
    if (each.next <= now && ++asked > kReplaceSasAtOnce) {
      each.next = now + kReplaceSasGap;  // its turn has not come: peers could not answer all at once
    } else if (each.next <= now) {
      actions_.emplace_back(ReplaceSa{key, each.tries});
      each.next = now + pause(each.tries++, kReplaceSaFirst, kReplaceSaMost);
    }
    read_at(each.next);
    still.emplace(key, each);
  }
  replacements_ = std::move(still);
}

void Reconciler::become_synced(Instant now, size_t objects) {
  if (troubled_since_ && (mended_ != 0 || state_ == State::kAwaiting || !replacements_.empty() || !told_.empty()))
    actions_.emplace_back(ReportSynced{mended_, now - *troubled_since_});
  state_ = State::kSynced;
  troubled_since_.reset();
  obstacle_.reset();
  waiting_told_.reset();
  round_error_.reset();
  told_.clear();
  replacements_.clear();
  failures_ = 0;
  left_before_ = SIZE_MAX;
  mended_ = 0;
  read_at(now + vary(std::max<Duration>(kAuditInterval, kAuditPerObject * objects)));
}

void Reconciler::on_unreadable(Instant now, const Error& error) {
  last_read_ = now;
  read_at_.reset();
  if (!troubled_since_) troubled_since_ = now;
  read_after_failure(now, error);
}

void Reconciler::read_after_failure(Instant now, const Error& why) {
  state_ = is_absence(why) ? State::kAwaiting : State::kSyncing;
  obstacle_ = why;
  if (is_absence(why) && waiting_told_ != why.reason()) {
    waiting_told_ = why.reason();
    actions_.emplace_back(ReportWaiting{why});
  }
  read_at(now + pause(failures_++, kRepairFirst, is_absence(why) ? kAwaitMost : kRepairMost));
}

void Reconciler::on_done(Instant now, uint64_t id, const Status& status) {
  const auto done = pending_.find(id);
  if (done == pending_.end()) return;  // late: it counts as failed already
  const ChangeText what = std::move(done->second.what);
  pending_.erase(done);
  if (status.ok()) {
    ++mended_;
    told_.erase(std::string(what.kind) + what.object);
    actions_.emplace_back(ReportMended{what});
  } else {
    // Of several, what is absent is what to wait for: the others mostly follow from it.
    if (!round_error_ || (is_absence(status.error()) && !is_absence(*round_error_))) round_error_ = status.error();
    complain(what, status.error());
  }
  if (pending_.empty()) finish_round(now);
}

void Reconciler::complain(const ChangeText& what, const Error& why) {
  if (is_absence(why)) return;  // said once for all
  Reason& told = told_[std::string(what.kind) + what.object];
  if (told == why.reason()) return;
  told = why.reason();
  actions_.emplace_back(ReportStays{what, why});
}

void Reconciler::finish_round(Instant now) {
  if (round_error_) return read_after_failure(now, *round_error_);
  obstacle_.reset();
  if (failures_ == 0) return read_at(now);  // read back
  read_at(now + pause(failures_ - 1, kRepairFirst, kRepairMost));
}

void Reconciler::tick(Instant now) {
  if (pending_.empty() || pending_deadline_ > now) return;
  pending_.clear();
  round_error_ = Error(Reason::kKernelTimeout, "the kernel did not answer");
  finish_round(now);
}

}  // namespace ipsec::policy
