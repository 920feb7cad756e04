#include "agent/service/start_pace.h"

#include <algorithm>
#include <cstdio>
#include <fstream>

#include "agent/service/limits.h"

namespace ipsec::agent::service {

Duration StartPace::failed(WallTime now) {
  const int64_t second = now.since_epoch / 1s;
  uint64_t failures = 0;
  int64_t last = 0;
  // Whatever else stands there counts as nothing.
  if (std::ifstream in(path_); !(in >> failures >> last) || second - last > kStartsForgotten / 1s || second < last)
    failures = 0;
  failures = std::min<uint64_t>(failures, 16) + 1;
  std::ofstream out(path_, std::ios::trunc);
  if (!(out << failures << ' ' << second << '\n') || !out.flush()) failures = std::max<uint64_t>(failures, 2);
  return std::min<Duration>(kStartPauseFirst * (int64_t{1} << (failures - 1)), kStartPauseMost);
}

void StartPace::succeeded() { std::remove(path_.c_str()); }

}  // namespace ipsec::agent::service
