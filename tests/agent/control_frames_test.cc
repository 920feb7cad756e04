#include <doctest/doctest.h>

#include "agent/control/frames.h"
#include "agent/control/limits.h"
#include "agent/control/message.h"

using namespace ipsec;
using namespace ipsec::agent::control;
using nlohmann::json;

TEST_CASE("frames: messages come out whole wherever the stream was cut") {
  const std::string stream("first\0second\0\0last\0", 19);
  for (size_t cut = 0; cut <= stream.size(); ++cut) {
    CAPTURE(cut);
    FrameReader reader(64);
    std::vector<std::string> messages;

    for (const std::string& part : {stream.substr(0, cut), stream.substr(cut)}) {
      REQUIRE(reader.add(part).ok());
      while (auto message = reader.next()) messages.push_back(*message);
    }

    CHECK(messages == std::vector<std::string>{"first", "second", "", "last"});
    CHECK(reader.buffered() == 0);
  }
}

TEST_CASE("frames: no more is buffered than allowed, and reading makes room again") {
  FrameReader reader(8);

  CHECK(reader.add("1234567").ok());
  CHECK_FALSE(reader.add("89").ok());
  CHECK(reader.add(std::string_view("\0", 1)).ok());
  CHECK(reader.next() == "1234567");
  CHECK(reader.add("12345678").ok());
}

TEST_CASE("frames: a long stream of messages does not make the buffer grow") {
  FrameReader reader(64 << 10);
  const std::string two_halves("tail\0" + std::string(5000, 'x'));
  size_t messages = 0;

  for (int i = 0; i < 1000; ++i) {
    REQUIRE(reader.add(std::string(5000, 'x')).ok());
    REQUIRE(reader.add(std::string_view("\0x", 2)).ok());
    while (reader.next()) ++messages;
  }

  CHECK(messages == 1000);
  CHECK(reader.buffered() == 1);
}

TEST_CASE("frames: what was written partly goes on where it stopped") {
  FrameWriter writer;
  writer.add("one");
  writer.add("two");

  writer.written(2);
  CHECK(writer.pending() == std::string_view("e\0two\0", 6));
  writer.written(6);
  CHECK(writer.size() == 0);
}

TEST_CASE("message: a call needs a method, and its members have their types") {
  const auto problem = [](const char* text) {
    const auto call = parse_call(text);
    return call.ok() ? std::string() : call.error().detail();
  };
  CHECK(problem(R"({"method":"a.b.C"})").empty());
  CHECK(problem(R"({"method":"a.b.C","parameters":null,"more":null,"future":1})").empty());
  CHECK(problem("").find("not valid JSON") != std::string::npos);
  CHECK(problem("{").find("not valid JSON") != std::string::npos);
  CHECK(problem("[]").find("not a JSON object") != std::string::npos);
  CHECK(problem("{}").find("\"method\" is missing") != std::string::npos);
  CHECK(problem(R"({"method":1})").find("\"method\" is missing") != std::string::npos);
  CHECK(problem(R"({"method":"a.b.C","parameters":[]})").find("\"parameters\"") != std::string::npos);
  CHECK(problem(R"({"method":"a.b.C","more":1})").find("\"more\"") != std::string::npos);
  CHECK(problem("{\"method\":\"\xff\xfe\"}").find("not valid JSON") != std::string::npos);
}

TEST_CASE("message: nesting is bounded before anything is built from it") {
  const auto nested = [](size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };

  CHECK(parse_json(nested(kJsonDepthMax), kJsonDepthMax).ok());
  CHECK(parse_json(nested(kJsonDepthMax + 1), kJsonDepthMax).error().reason() == Reason::kLimitReached);
  CHECK(parse_json(std::string(10'000'000, '['), kJsonDepthMax).error().reason() == Reason::kLimitReached);
  CHECK(parse_json(R"("[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\"[[[")", 2).ok());
}

TEST_CASE("message: text that is not UTF-8 is replaced, not thrown at us") {
  CHECK(to_text(json("a\xff")) == "\"a\xef\xbf\xbd\"");
}

TEST_CASE("message: replies survive being written and read, and odd ones are refused") {
  const Reply reply{.parameters = {{"a", 1}}, .error = "x.y.Z", .continues = Flag::kOn};

  const auto again = parse_reply(write_reply(reply));

  REQUIRE(again.ok());
  CHECK(again.value().parameters == reply.parameters);
  CHECK(again.value().error == "x.y.Z");
  CHECK(again.value().continues == Flag::kOn);
  CHECK_FALSE(parse_reply(R"({"error":1})").ok());
  CHECK_FALSE(parse_reply(R"({"parameters":7})").ok());
}
