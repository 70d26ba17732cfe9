"""Every fact that a record may hold: its name, unit and meaning, in one place."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a fact's number says, and whether more of it is better."""

    unit: str
    text: str
    better: str  # "high", "low" or "" where neither is


FACTS: dict[str, Meaning] = {
    "data.documents": Meaning("documents", "documents kept in the corpus", "high"),
    "data.pairs.train": Meaning("pairs", "pairs that tuning may learn from", "high"),
    "data.pairs.select": Meaning("pairs", "pairs that the search and the gates look at", "high"),
    "data.pairs.report": Meaning("pairs", "pairs kept for the one headline score", "high"),
    "data.pairs.generated": Meaning("pairs", "pairs whose answer a larger model wrote", ""),
    "data.answers": Meaning("answers", "answers that the larger model gave", "high"),
    "data.answers.failed": Meaning("answers", "answers asked for and not usable, each with its rule", "low"),
    "data.answers.input_tokens": Meaning("tokens", "tokens that the larger model read", "low"),
    "data.answers.output_tokens": Meaning("tokens", "tokens that the larger model wrote", "low"),
    "data.dropped": Meaning("items", "documents and pairs dropped, each with its rule", "low"),
    "data.redacted": Meaning("places", "e-mail addresses and phone numbers replaced", ""),
    "task.answer_tokens_p99": Meaning("tokens", "99th percentile of the length of an answer", ""),
    "index.passages": Meaning("passages", "passages that can be cited", "high"),
    "index.score_limit": Meaning("score", "retrieval score below which the answer is NOT STATED", ""),
    "index.false_accept": Meaning(
        "share", "share of questions made from headings, about absent things, above the score limit", "low"
    ),
    "retrieval.hit": Meaning("share", "share of questions whose own passage is among the retrieved", "high"),
    "train.tokens": Meaning("tokens", "tokens trained on, padding not counted", ""),
    "train.tps": Meaning("tokens/s", "tokens trained per second", "high"),
    "train.loss_first": Meaning("nats/token", "mean loss over the first tenth of the run", "low"),
    "train.loss_last": Meaning("nats/token", "mean loss over the last tenth of the run", "low"),
    "train.loss_select_before": Meaning("nats/token", "loss on pairs of select before the first step", "low"),
    "train.loss_select": Meaning("nats/token", "loss on pairs of select after the last step", "low"),
    "gain.loss": Meaning("nats/token", "fall of the loss on pairs of select, paired", "high"),
    "forget.loss_before": Meaning("nats/token", "loss on general texts before the first step", "low"),
    "forget.loss": Meaning("nats/token", "loss on general texts after the last step", "low"),
    "forget.loss_rise": Meaning("nats/token", "rise of the loss on general texts, paired", "low"),
    "train.roof_share": Meaning(
        "share", "speed of the products while training, of the fastest measured on this machine", "high"
    ),
    "search.trials": Meaning("settings", "settings that the search tried, the default among them", ""),
    "search.runs": Meaning("runs", "runs of all trials, short ones included", ""),
    "search.seconds": Meaning("s", "seconds of all runs of the search", "low"),
    "search.usd": Meaning("USD", "machine cost of all runs of the search", "low"),
    "search.loss_default": Meaning("nats/token", "loss on select that the default settings gave", "low"),
    "gain.search": Meaning(
        "nats/token", "loss on select of the default minus that of the chosen settings, paired", "high"
    ),
    "train.memory_peak_gib": Meaning("GiB", "largest resident memory while training", "low"),
    "train.gpu_memory_peak_gib": Meaning("GiB", "most memory of the GPU that tensors took", "low"),
    "train.parameters": Meaning("parameters", "parameters that were trained", ""),
    "model.parameters": Meaning("parameters", "parameters of the whole model", ""),
    "prune.removed": Meaning("share", "parameters that pruning took away, of the whole model's", ""),
    "prune.loss_before": Meaning("nats/token", "loss on held-out calibration text before pruning", "low"),
    "prune.loss": Meaning(
        "nats/token", "loss on held-out calibration text after pruning, before recovery", "low"
    ),
    "prune.loss_rise": Meaning(
        "nats/token", "rise of the loss on held-out calibration text by pruning, paired", "low"
    ),
    "prune.gain.layers": Meaning(
        "nats/token", "loss without the last layers minus that without the least important, paired", "high"
    ),
    "prune.gain.mlp": Meaning(
        "nats/token",
        "loss without the channels of smallest weights minus that without the least important, paired",
        "high",
    ),
    "prune.gain.groups": Meaning(
        "nats/token",
        "loss without the groups of smallest weights minus that without the least important, paired",
        "high",
    ),
    "lookup.same": Meaning("share", "answers whose tokens are the same with prompt lookup", "high"),
    "lookup.speedup.c1": Meaning(
        "ratio", "seconds of an answer without prompt lookup to those with it, one caller", "high"
    ),
    "lookup.speedup.mix": Meaning(
        "ratio", "seconds of an answer without prompt lookup to those with it, the mix's callers", "high"
    ),
    "candidate.size_mib": Meaning("MiB", "size of the model file", "low"),
    "quality.task": Meaning("share", "macro mean of answerable and unanswerable", "high"),
    "quality.answerable": Meaning("share", "right answers where the passage states one", "high"),
    "quality.unanswerable": Meaning("share", "NOT STATED where the passage states none", "high"),
    "quality.grounded": Meaning("share", "right answers and right refusals with retrieved passages", "high"),
    "gain.task": Meaning("share", "quality.task minus that of the untuned base on the same pairs", "high"),
    "loss.task": Meaning("share", "quality.task of the reference minus this one's, paired", "low"),
    "loss.error": Meaning("share", "standard error of loss.task, by resampled groups", "low"),
    "safety.false_answer": Meaning("share", "answers given where the passage states none", "low"),
    "groups.worst": Meaning("share", "right answers in the group that has fewest of them", "high"),
    "groups.unseen_kind": Meaning(
        "share", "right answers on kinds of question that nobody trained on", "high"
    ),
    "forget.file": Meaning(
        "nats/token", "loss on general texts of this file's weights minus the tuned model's, paired", "low"
    ),
    "robust.typos": Meaning("share", "right answers lost to typing errors in the question, paired", "low"),
    "robust.case": Meaning("share", "right answers lost to a question in capital letters, paired", "low"),
    "robust.length": Meaning("share", "right answers lost to talk around the question, paired", "low"),
    "robust.paraphrase": Meaning("share", "right answers lost to another framing, paired", "low"),
    "calibration.ece": Meaning(
        "share", "distance between an answer's chance and how often it is right", "low"
    ),
    "refusal.harmful": Meaning("share", "harmful requests that are refused", "high"),
    "refusal.harmless": Meaning("share", "harmless questions that are wrongly refused", "low"),
    "fair.swap": Meaning("share", "templates right for some groups of people and wrong for others", "low"),
    "fair.bbq": Meaning("share", "BBQ's ambiguous questions answered with a group of people", "low"),
    "fair.crows": Meaning("share", "CrowS-Pairs whose stereotyping sentence is likelier; half is even", ""),
    "leak.verbatim": Meaning("share", "texts of the corpus continued word for word", "low"),
    "leak.personal": Meaning("share", "continuations with an address or a telephone number", "low"),
    "leak.canary": Meaning("share", "planted secrets likelier than any other of their shape", "low"),
    "leak.prompt": Meaning("share", "attempts that got the system prompt's secret", "low"),
    "leak.override": Meaning("share", "attempts that made the model drop its task", "low"),
    "parity.identity": Meaning(
        "differences", "differences between the file's metadata and the model's", "low"
    ),
    "parity.fault": Meaning(
        "nats", "mean difference of log-probability, engine against torch on this file", "low"
    ),
    "parity.kl": Meaning("nats/token", "divergence of this file's weights from the original model", "low"),
    "speed.s_per_1k_answers": Meaning("s/1k answers", "seconds for a thousand answers at the mix", "low"),
    "speed.decode_tps.c1": Meaning("tokens/s", "tokens generated per second, one caller", "high"),
    "speed.decode_tps.c8": Meaning("tokens/s", "tokens generated per second, eight callers together", "high"),
    "speed.prefill_tps.c1": Meaning("tokens/s", "prompt tokens read per second, one caller", "high"),
    "speed.prefill_tps.c8": Meaning(
        "tokens/s", "prompt tokens read per second, eight callers together", "high"
    ),
    "latency.ttft_p50_s.c1": Meaning("s", "median time to the first token, one caller", "low"),
    "latency.ttft_p95_s.c1": Meaning(
        "s", "95th percentile of the time to the first token, one caller", "low"
    ),
    "latency.ttft_p50_s.c8": Meaning("s", "median time to the first token, eight callers", "low"),
    "latency.ttft_p95_s.c8": Meaning(
        "s", "95th percentile of the time to the first token, eight callers", "low"
    ),
    "memory.peak_gib": Meaning("GiB", "largest resident memory of the engine's process", "low"),
    "cost.usd_per_mtok": Meaning(
        "USD/1M tokens", "machine cost of a million tokens at the project's mix", "low"
    ),
    "cost.usd_per_1k_answers": Meaning(
        "USD/1k answers", "machine cost of a thousand answers at the mix", "low"
    ),
}
