#include "export/tf_record.h"

#include <cstring>

#include <boost/crc.hpp>

namespace gradhealth::tensorflow {
namespace {

/// Protocol Buffers' wire types.
enum WireType : std::uint32_t { kVarint = 0, kFixed64 = 1, kLengthDelimited = 2, kFixed32 = 5 };

std::string little_endian(std::uint64_t value, int bytes) {
  std::string out;
  for (int i = 0; i < bytes; ++i) out += static_cast<char>(value >> (8 * i) & 0xFF);
  return out;
}

std::string varint(std::uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7) out += static_cast<char>((value & 0x7F) | 0x80);
  return out + static_cast<char>(value);
}

std::string key(int number, WireType type) { return varint(static_cast<std::uint64_t>(number) << 3 | type); }

template <typename Bits, typename Value>
Bits bits_of(Value value) {
  static_assert(sizeof(Bits) == sizeof(Value));
  Bits bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

/// Checksums are stored altered, so that those of data that holds checksums are no trouble.
std::string masked_crc(std::string_view bytes) {
  const std::uint32_t crc = crc32c(bytes);
  return little_endian(((crc >> 15) | (crc << 17)) + 0xA282EAD8u, 4);
}

}  // namespace

std::uint32_t crc32c(std::string_view bytes) {
  boost::crc_optimal<32, 0x1EDC6F41, 0xFFFFFFFF, 0xFFFFFFFF, true, true> crc;
  crc.process_bytes(bytes.data(), bytes.size());
  return crc.checksum();
}

std::string record(std::string_view message) {
  const std::string length = little_endian(message.size(), 8);
  return length + masked_crc(length) + std::string(message) + masked_crc(message);
}

std::string double_field(int number, double value) {
  return key(number, kFixed64) + little_endian(bits_of<std::uint64_t>(value), 8);
}

std::string float_field(int number, float value) {
  return key(number, kFixed32) + little_endian(bits_of<std::uint32_t>(value), 4);
}

std::string integer_field(int number, std::int64_t value) {
  return key(number, kVarint) + varint(static_cast<std::uint64_t>(value));
}

std::string bytes_field(int number, std::string_view value) {
  return key(number, kLengthDelimited) + varint(value.size()) + std::string(value);
}

}  // namespace gradhealth::tensorflow
