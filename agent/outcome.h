#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "policy/base/result.h"

namespace ipsec::agent {

/// One outcome for `count` of them: `done` gets the first error, or success when all have succeeded. With nothing to
/// wait for it is called at once.
inline std::function<void(Status)> gather_outcomes(size_t count, std::function<void(Status)> done) {
  if (count == 0) {
    done({});
    return {};
  }
  struct Group {
    size_t left;
    std::optional<Error> first;
    std::function<void(Status)> done;
  };
  auto group = std::make_shared<Group>(Group{count, std::nullopt, std::move(done)});
  return [group](Status status) {
    if (!status.ok() && !group->first) group->first = std::move(status).error();
    if (--group->left == 0) group->done(group->first ? Status(*group->first) : Status());
  };
}

}  // namespace ipsec::agent
