#pragma once

#include <cstdint>
#include <string>
#include <string_view>

/// The little of TensorFlow's formats that scalars need: records and Protocol Buffers fields. The numbers are those of
/// tensorflow/core/util/event.proto, tensorflow/core/framework/summary.proto and tsl/lib/io/record_writer.
namespace gradhealth::tensorflow {

/// CRC-32C (Castagnoli), as in RFC 3720.
std::uint32_t crc32c(std::string_view bytes);

/// What a record file holds of a message: length, its checksum, the message, its checksum.
std::string record(std::string_view message);

/// Fields of a message, by number.
std::string double_field(int number, double value);
std::string float_field(int number, float value);
std::string integer_field(int number, std::int64_t value);
std::string bytes_field(int number, std::string_view value);

}  // namespace gradhealth::tensorflow
