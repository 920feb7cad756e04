#pragma once

#include <doctest/doctest.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "agent/tunnel_manager.h"

namespace ipsec::testing {

/// What a manager says of its drift, when its turns have gone on until the answer.
inline std::vector<agent::NamespaceDrift> drift_now(agent::TunnelManager& manager, Instant now,
                                                    const std::optional<std::string>& netns = {}) {
  constexpr int kTurnsMax = 1000;
  std::optional<std::vector<agent::NamespaceDrift>> answer;
  manager.drift(now, netns, [&](Result<std::vector<agent::NamespaceDrift>> found) {
    REQUIRE(found.ok());
    answer = std::move(found).value();
  });
  for (int turns = 0; !answer && turns < kTurnsMax; ++turns) manager.run(now);
  REQUIRE(answer);
  return *answer;
}

}  // namespace ipsec::testing
