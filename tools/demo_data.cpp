#include "demo_data.h"

#include <array>
#include <memory>
#include <stdexcept>
#include <string>

#include <zlib.h>

namespace demo {
namespace {

/// Big-endian numbers and bytes from a gzip file.
class GzipFile {
 public:
  explicit GzipFile(const std::filesystem::path& path) : path_(path), file_(gzopen(path.c_str(), "rb"), &gzclose) {
    if (!file_) fail("cannot be opened; Debian's package dataset-fashion-mnist has it");
  }

  std::int64_t number() {
    std::array<std::uint8_t, 4> bytes{};
    read(bytes.data(), bytes.size());
    return (std::int64_t{bytes[0]} << 24) | (bytes[1] << 16) | (bytes[2] << 8) | bytes[3];
  }

  void read(std::uint8_t* to, std::size_t count) {
    if (gzread(file_.get(), to, static_cast<unsigned>(count)) != static_cast<int>(count)) fail("ends too early");
  }

  [[noreturn]] void fail(const std::string& why) const { throw std::runtime_error(path_.string() + " " + why); }

 private:
  std::filesystem::path path_;
  std::unique_ptr<gzFile_s, decltype(&gzclose)> file_;
};

constexpr std::int64_t kImageMagic = 2051;
constexpr std::int64_t kLabelMagic = 2049;
constexpr std::int64_t kMostImages = 1'000'000;

}  // namespace

Images read_images(const std::filesystem::path& directory, const char* set) {
  Images images;
  GzipFile pixels(directory / (std::string(set) + "-images-idx3-ubyte.gz"));
  if (pixels.number() != kImageMagic) pixels.fail("is not an IDX file of images");
  images.count = pixels.number();
  images.rows = pixels.number();
  images.columns = pixels.number();
  if (images.count > kMostImages || images.rows * images.columns > 1024) pixels.fail("is larger than this data set is");
  images.pixels.resize(static_cast<std::size_t>(images.count * images.rows * images.columns));
  pixels.read(images.pixels.data(), images.pixels.size());
  GzipFile labels(directory / (std::string(set) + "-labels-idx1-ubyte.gz"));
  if (labels.number() != kLabelMagic || labels.number() != images.count) labels.fail("has not one label per image");
  images.labels.resize(static_cast<std::size_t>(images.count));
  labels.read(images.labels.data(), images.labels.size());
  return images;
}

}  // namespace demo
