#include "agent/mailbox.h"

#include <doctest/doctest.h>

#include <string>

using namespace ipsec;
using namespace ipsec::agent;

namespace {

/// A mailbox with room for four letters and a hundred bytes, whose reader looks when the test says so.
struct Small {
  size_t woken = 0, invited = 0;
  std::string opened;
  Mailbox mailbox{[this] { ++woken; }, {.letters = 4, .bytes = 100}};

  Letter letter(char name, size_t bytes = 1) {
    return {.open = [this, name] { opened.push_back(name); }, .bytes = bytes};
  }
  bool offer(char name, size_t bytes = 1) {
    Letter one = letter(name, bytes);
    return mailbox.offer(one, [this] { ++invited; });
  }
};

}  // namespace

TEST_CASE("mailbox: letters are opened in the order in which they came, some at a time") {
  Small small;
  for (char name : {'a', 'b', 'c'}) CHECK(small.offer(name));

  CHECK(small.mailbox.open_some(2));
  CHECK(small.opened == "ab");
  CHECK(!small.mailbox.open_some(2));
  CHECK(small.opened == "abc");
  CHECK(!small.mailbox.open_some(2));
}

TEST_CASE("mailbox: the reader is woken once, until it has found nothing left") {
  Small small;
  small.offer('a'), small.offer('b');
  CHECK(small.woken == 1);
  CHECK(small.mailbox.open_some(1));
  small.offer('c');
  CHECK(small.woken == 1);  // it looks again by itself
  CHECK(!small.mailbox.open_some(5));
  small.offer('d');
  CHECK(small.woken == 2);
}

TEST_CASE("mailbox: a full one takes nothing, keeps what it has, and invites again when half of it is free") {
  Small small;
  for (char name : {'a', 'b', 'c', 'd'}) REQUIRE(small.offer(name));
  Letter fifth = small.letter('e');

  CHECK(!small.mailbox.offer(fifth, [&] { ++small.invited; }));
  CHECK(fifth.open);  // it stays with its writer
  CHECK(small.mailbox.letters() == 4);
  small.mailbox.open_some(1);
  CHECK(small.invited == 0);
  small.mailbox.open_some(1);
  CHECK(small.invited == 1);
  CHECK(small.mailbox.offer(fifth, [&] { ++small.invited; }));
  small.mailbox.open_some(10);
  CHECK(small.opened == "abcde");
  CHECK(small.invited == 1);
}

TEST_CASE("mailbox: bytes are a limit of their own, and one letter alone always fits") {
  Small small;
  CHECK(small.offer('a', 60));
  CHECK(!small.offer('b', 60));
  CHECK(small.mailbox.bytes() == 60);
  small.mailbox.open_some(1);
  CHECK(small.mailbox.bytes() == 0);
  CHECK(small.offer('c', 1000));
}

TEST_CASE("mailbox: whoever waits is not passed by smaller letters") {
  Small small;
  CHECK(small.offer('a', 60));
  CHECK(!small.offer('b', 60));
  CHECK(!small.offer('c', 1));
  small.mailbox.open_some(1);
  CHECK(small.invited == 2);
  CHECK(small.offer('b', 60));
}
