#include <algorithm>
#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/alarm.h"
#include "rules/support/new_finding.h"
#include "rules/support/rule_support.h"
#include "rules/support/tally.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "unmasked-padding";

/// "16x8x32" as numbers.
std::vector<long> dimensions(const std::string& shape) {
  std::vector<long> sizes;
  for (const char* at = shape.c_str(); *at != '\0';) {
    char* end = nullptr;
    sizes.push_back(std::strtol(at, &end, 10));
    if (end == at) return {};
    at = *end == 'x' ? end + 1 : end;
  }
  return sizes;
}

class UnmaskedPadding final : public Judge {
 public:
  explicit UnmaskedPadding(const RuleOptions& options)
      : padding_(options.at("padding")),
        masked_(options.at("masked")),
        share_(options.at("share")),
        min_steps_(options.at("min-steps")) {}

  void observe(const Run& run, const StepRecord& record) override {
    const std::vector<Subject>& activations = run.of(Axis::kActivation);
    for (std::size_t i = known_; i < activations.size(); ++i) meet(activations[i], i);
    known_ = activations.size();
    for (Attention& attention : attentions_) observe(record, attention);
    alarm_.set(static_cast<std::size_t>(std::count_if(attentions_.begin(), attentions_.end(),
                                                      [this](const Attention& each) { return is_unmasked(each); })));
  }

  std::size_t alarms() const override { return alarm_.count(); }

  Outcome outcome() const override {
    std::vector<Finding> findings;
    std::size_t judged = 0;
    for (const Attention& attention : attentions_) {
      judged = std::max(judged, attention.unmasked.judged);
      if (is_unmasked(attention)) findings.push_back(finding(attention));
    }
    if (!findings.empty()) return unhealthy(std::move(findings));
    if (embeddings_.empty()) return NotEvaluated{"the model has no embedding"};
    if (attentions_.empty()) return NotEvaluated{"no attention over the length of an embedded sequence was recorded"};
    if (judged == 0)
      return NotEvaluated{"no batch with padding was recorded: it is told by the embedding's padding_idx"};
    if (static_cast<double>(judged) < min_steps_) return too_few_steps(judged, min_steps_);
    return Healthy{};
  }

 private:
  struct Embedding {
    std::size_t index = 0;
    std::string name;
    std::vector<long> shape;
  };
  struct Attention {
    std::size_t index = 0;
    Subject subject;
    std::size_t embedding = 0;  ///< In `embeddings_`.
    Tally unmasked;
    double padding = 0;  ///< At the last step without a mask.
    double masked = 0;
  };

  void meet(const Subject& activation, std::size_t index) {
    const std::vector<long> shape = dimensions(activation.shape);
    if (activation.kind == "embedding" && shape.size() == 3) embeddings_.push_back({index, activation.name, shape});
    if (activation.kind != "softmax" || shape.size() < 3) return;
    // Attention weighs the positions of a sequence: its last dimension is the length, which is one of an embedding's
    // first two.
    for (std::size_t i = embeddings_.size(); i-- > 0;) {
      const std::vector<long>& sequence = embeddings_[i].shape;
      if (shape.back() != sequence[0] && shape.back() != sequence[1]) continue;
      attentions_.push_back({index, activation, i, {}});
      return;
    }
  }

  void observe(const StepRecord& record, Attention& attention) const {
    const double padding = record.at(Quantity::kPaddingFraction, embeddings_[attention.embedding].index);
    const double masked = record.at(Quantity::kMaskedFraction, attention.index);
    if (!(padding >= padding_) || !(masked >= 0)) return;
    const bool unmasked = masked < masked_ * padding;
    attention.unmasked.add(unmasked, record.step);
    if (!unmasked) return;
    attention.padding = padding;
    attention.masked = masked;
  }

  bool is_unmasked(const Attention& attention) const {
    return static_cast<double>(attention.unmasked.judged) >= min_steps_ && attention.unmasked.share() >= share_;
  }

  Finding finding(const Attention& attention) const {
    const std::string& embedding = embeddings_[attention.embedding].name;
    Finding finding = new_finding(
        kId, Severity::kWarning, 0.7, ref(attention.subject), {attention.unmasked.first, attention.unmasked.last},
        fmt::format("{} % of what enters {} is padding, and {} looks at {} of it: every other position takes it in.",
                    number(100 * attention.padding), embedding, attention.subject.name,
                    attention.masked > 0 ? "most" : "all"));
    finding.evidence.push_back(evidence("padding among the embedding's indices", attention.padding, "≥", padding_,
                                        Quantity::kPaddingFraction, embedding));
    finding.evidence.push_back(evidence("masked share of the attention's logits", attention.masked, "<",
                                        masked_ * attention.padding, Quantity::kMaskedFraction,
                                        attention.subject.name));
    Recommendation advice;
    advice.id = "mask-padding";
    advice.text = "Give the attention a key padding mask.";
    advice.why =
        "Without one the output depends on how long the batch's longest sequence is, and so on what else is in the "
        "batch; an embedding's padding_idx keeps the padding's vector from learning, not from being attended to.";
    advice.code =
        "// indices: [batch, length]; true where there is padding.\n"
        "const torch::Tensor padding = indices.eq(embedding->options.padding_idx().value());\n"
        "output = encoder->forward(source, /*src_mask=*/{}, /*src_key_padding_mask=*/padding);";
    advice.confidence = 0.8;
    finding.recommendations.push_back(std::move(advice));
    return finding;
  }

  double padding_;
  double masked_;
  double share_;
  double min_steps_;
  Alarm alarm_;
  std::size_t known_ = 0;  ///< Activations met so far.
  std::vector<Embedding> embeddings_;
  std::vector<Attention> attentions_;
};

}  // namespace

Rule unmasked_padding() {
  RuleInfo info;
  info.id = kId;
  info.title = "Padding is attended to";
  info.meaning =
      "Sequences of a batch are filled up to one length, and attention takes in the filling as if it were data. What "
      "the model says of a sequence then depends on the others in its batch.";
  info.method =
      "The share of an embedding's indices that are its padding_idx, against the share of the logits of an attention "
      "over the same length that a mask excludes. A key padding mask excludes at least as many.";
  info.limits =
      "Only where the embedding was given a padding_idx, and only attention: recurrent layers and means over the "
      "sequence are not judged. A causal mask passes: with the filling at the end, no earlier position sees it. What "
      "is on a device is not looked at.";
  info.options = {
      {"padding", 0.05, "Share of the indices that is worth a mask.", "Less is lost in the attention's average."},
      {"masked", 0.25, "Share of that which must be masked, at least.",
       "A mask of the padding excludes all of it; of other sequences' lengths nearly all."},
      {"share", 0.9, "Share of the recorded steps with padding.", "A mask is there at every step or at none."},
      min_steps_option(10),
  };
  info.references = {"Vaswani et al., Attention is all you need, arXiv 1706.03762, section 3.2.3"};
  return make_rule<UnmaskedPadding>(std::move(info));
}

}  // namespace gradhealth::rules
