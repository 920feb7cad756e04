#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>
#include <vector>

#include "agent/control/backend.h"
#include "agent/control/limits.h"

/// What the sources of rows have in common.
namespace ipsec::agent::show {

using control::RowSource;
using nlohmann::json;

/// Rows of an ordered map, one or more for each entry. It goes from key to key, so what comes and goes between two
/// steps does no harm. `map` gives the map of this moment.
template <typename Map>
class MapRows final : public RowSource {
 public:
  using MapNow = std::function<const Map&()>;
  using AddRows =
      std::function<void(const typename Map::key_type&, const typename Map::mapped_type&, std::vector<json>&)>;
  MapRows(MapNow map, AddRows add) : map_(std::move(map)), add_(std::move(add)) {}

  More next(std::vector<json>& rows) override {
    const Map& map = map_();
    auto it = last_ ? map.upper_bound(*last_) : map.begin();
    for (size_t looked = 0; it != map.end() && looked < control::kRowsPerStep && rows.size() < control::kRowsPerStep;
         ++it, ++looked) {
      add_(it->first, it->second, rows);
      last_ = it->first;
    }
    return it == map.end() ? More::kNo : More::kYes;
  }

 private:
  MapNow map_;
  AddRows add_;
  std::optional<typename Map::key_type> last_;
};

template <typename MapNow, typename AddRows>
std::unique_ptr<RowSource> rows_of_map(MapNow map, AddRows add) {
  using Map = std::remove_cvref_t<decltype(map())>;
  return std::make_unique<MapRows<Map>>(std::move(map), std::move(add));
}

/// One source after the other.
class ChainedRows final : public RowSource {
 public:
  ChainedRows(std::unique_ptr<RowSource> first, std::unique_ptr<RowSource> second)
      : sources_{std::move(first), std::move(second)} {}
  More next(std::vector<json>& rows) override {
    if (sources_[at_]->next(rows) == More::kYes) return More::kYes;
    return ++at_ < sources_.size() ? More::kYes : More::kNo;
  }

 private:
  std::array<std::unique_ptr<RowSource>, 2> sources_;
  size_t at_ = 0;
};

/// Rows that can be made only after some preparation: `prepare` is called until it has them.
class PreparedRows final : public RowSource {
 public:
  using Prepare = std::function<std::optional<std::vector<json>>()>;
  explicit PreparedRows(Prepare prepare) : prepare_(std::move(prepare)) {}
  More next(std::vector<json>& rows) override {
    if (!ready_) {
      auto made = prepare_();
      if (!made) return More::kYes;
      ready_ = std::move(made);
    }
    for (; at_ < ready_->size() && rows.size() < control::kRowsPerStep; ++at_)
      rows.push_back(std::move((*ready_)[at_]));
    return at_ == ready_->size() ? More::kNo : More::kYes;
  }

 private:
  Prepare prepare_;
  std::optional<std::vector<json>> ready_;
  size_t at_ = 0;
};

/// Null, so that nobody takes it for a name.
inline json or_null(const std::string& text) { return text.empty() ? json(nullptr) : json(text); }

}  // namespace ipsec::agent::show
