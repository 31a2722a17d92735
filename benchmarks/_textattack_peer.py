"""TextAttack's side of attack_vs_textattack.py, run by the Python of an environment of its own.

Reads a task (JSON, the first argument), writes what it measured to the second. The victim, the constraints and the
candidates are those of our side: the network's class and weights, the policy's rules, and a list of words for a word.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import textattack  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from textattack.constraints import Constraint  # noqa: E402
from textattack.constraints.pre_transformation import InputColumnModification, RepeatModification  # noqa: E402
from textattack.constraints.semantics.sentence_encoders import SentenceEncoder  # noqa: E402
from textattack.goal_functions import UntargetedClassification  # noqa: E402
from textattack.models.wrappers import ModelWrapper  # noqa: E402
from textattack.search_methods import BeamSearch, GreedyWordSwapWIR  # noqa: E402
from textattack.shared import AttackedText  # noqa: E402
from textattack.transformations import WordSwap  # noqa: E402
from transformers import AutoConfig, AutoModel, AutoTokenizer  # noqa: E402

from engine.classifiers.network import Network  # noqa: E402
from engine.policies import load_policy  # noqa: E402
from engine.policies.word_rules import fits_any  # noqa: E402
from engine.snippets import Snippet, refusals  # noqa: E402

COLUMNS = ["prompt", "completion"]
SEARCHES: dict[str, Any] = {
    "textfooler, bae": lambda: GreedyWordSwapWIR(wir_method="delete"),
    "bert-attack": lambda: GreedyWordSwapWIR(wir_method="unk"),
    "greedy-wir, gradient": lambda: GreedyWordSwapWIR(wir_method="gradient"),
    "beam 4": lambda: BeamSearch(beam_width=4),
}
"""Named after the recipe whose search it is. TextFooler's and BAE's differ in their candidates and constraints only,
which are the same for all here."""


class Victim(ModelWrapper):  # type: ignore[misc]
    """The trained network in fp32, batches padded to their longest text."""

    def __init__(self, folder: Path, cutoff: float, longest: int) -> None:
        self.model = Network(AutoModel.from_config(AutoConfig.from_pretrained(folder)), dropout=0, seed=0).eval()
        self.model.load_state_dict(load_file(folder / "model.safetensors"))
        self.model.requires_grad_(False)
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.cutoff, self.longest, self.gradients = cutoff, longest, 0

    def __call__(self, text_input_list: list[tuple[str, str]]) -> torch.Tensor:
        """Two class logits a text, of which the second is the larger one where the text is rejected."""
        with torch.inference_mode():
            margin = self.model.margin(*self._inputs(text_input_list)) - self.cutoff
        return torch.stack([torch.zeros_like(margin), margin], dim=1)

    def get_grad(self, text_input: tuple[str, str]) -> dict[str, Any]:
        """The gradient of the margin by the tokens' embeddings."""
        self.gradients += 1
        kept: list[torch.Tensor] = []

        def keep(module: object, inputs: object, output: torch.Tensor) -> torch.Tensor:
            kept.append(output.detach().requires_grad_(True))
            return kept[0]

        hook = self.model.encoder.get_input_embeddings().register_forward_hook(keep)
        ids, mask, types = self._inputs([text_input])
        margin = self.model.margin(ids, mask, types)
        hook.remove()
        (gradient,) = torch.autograd.grad(margin.sum(), kept[0])
        return {"ids": ids[0].tolist(), "gradient": gradient[0].numpy()}

    def _tokenize(self, inputs: list[tuple[str, str]]) -> list[list[str]]:
        return [self.tokenizer.convert_ids_to_tokens(self._inputs([one])[0][0].tolist()) for one in inputs]

    def tokenize(self, inputs: list[tuple[str, str]], strip_prefix: bool = False) -> list[list[str]]:
        """Tokens of each text."""
        return [[token.removeprefix("##") for token in tokens] for tokens in self._tokenize(inputs)]

    def _inputs(self, texts: list[tuple[str, str]]) -> tuple[torch.Tensor, ...]:
        pairs = [list(column) for column in zip(*texts, strict=True)]
        found = self.tokenizer(
            *pairs, padding=True, truncation="longest_first", max_length=self.longest, return_tensors="pt"
        )
        return found["input_ids"], found["attention_mask"], found["token_type_ids"]


class Listed(WordSwap):  # type: ignore[misc]
    """The words that a list has for a word, in its case."""

    def __init__(self, words: dict[str, list[str]]) -> None:
        super().__init__()
        self.words = words

    def _get_replacement_words(self, word: str) -> list[str]:
        found = self.words.get(word.lower(), [])
        return [one.capitalize() for one in found] if word[:1].isupper() else found


class Similar(SentenceEncoder):  # type: ignore[misc]
    """MiniLM's cosine of the completions, each text encoded once."""

    def __init__(self, folder: str, threshold: float) -> None:
        super().__init__(threshold=threshold, metric="cosine", compare_against_original=True)
        self.encoder, self.tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)

    def encode(self, sentences: list[str]) -> torch.Tensor:
        """Unit rows."""
        completions = [text.partition("\n")[2] or text for text in sentences]
        place = {text: n for n, text in enumerate(dict.fromkeys(completions))}
        inputs = self.tokenizer(list(place), padding=True, truncation=True, max_length=256, return_tensors="pt")
        with torch.inference_mode():
            hidden = self.encoder(**inputs).last_hidden_state
        weight = inputs["attention_mask"].unsqueeze(-1).float()
        rows = torch.nn.functional.normalize((hidden * weight).sum(1) / weight.sum(1), dim=1)
        return rows[[place[text] for text in completions]]


class Allowed(Constraint):  # type: ignore[misc]
    """What costs nothing: the share of edited words, the policy's rules and words."""

    def __init__(self, share: float, most: int, policy: str) -> None:
        super().__init__(compare_against_original=True)
        self.share, self.most, self.policy = share, most, load_policy(policy)

    def _check_constraint(self, transformed_text: AttackedText, reference_text: AttackedText) -> bool:
        seed, snippet = _snippet(reference_text), _snippet(transformed_text)
        words = len(re.findall(r"[^\W_]+(?:['\u2019-][^\W_]+)*", seed.completion))
        edited = len(transformed_text.all_words_diff(reference_text))
        if edited > min(self.most, max(1, int(self.share * words))) or refusals(snippet, self.policy.snippet_rules):
            return False
        return not fits_any(self.policy.enrichment, seed) or fits_any(self.policy.enrichment, snippet)


def _snippet(text: AttackedText) -> Snippet:
    return Snippet(*text.tokenizer_input)


def attack(name: str, task: dict[str, Any]) -> dict[str, Any]:
    """One search over all seeds; models and caches are new."""
    victim = Victim(Path(task["victim"]), task["cutoff"], task["longest"])
    whole = textattack.Attack(
        UntargetedClassification(victim, model_batch_size=32),
        [
            RepeatModification(),
            InputColumnModification(COLUMNS, {"prompt"}),
            Allowed(task["edited_share"], task["max_edits"], task["policy"]),
            Similar(task["encoder"], task["similarity"]),
        ],
        Listed(task["words"]),
        SEARCHES[name](),
    )
    run(whole, task["warm_up"])
    victim.gradients = 0
    began, used = time.perf_counter(), time.process_time()
    found, queries = run(whole, task["seeds"])
    spent = {"seconds": time.perf_counter() - began, "processor": time.process_time() - used}
    return {"name": name, "found": found, "queries": queries + victim.gradients, **spent}


def run(whole: textattack.Attack, seeds: list[list[str]]) -> tuple[list[str | None], int]:
    """The rewriting of each seed, if any, and all queries."""
    found, queries = [], 0
    for seed in seeds:
        result = whole.attack(OrderedDict(zip(COLUMNS, seed, strict=True)), 1)
        succeeded = isinstance(result, textattack.attack_results.SuccessfulAttackResult)
        found.append(_snippet(result.perturbed_result.attacked_text).completion if succeeded else None)
        queries += result.num_queries
    return found, queries


def main() -> None:
    task = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    torch.set_num_threads(1)
    np.random.seed(0)
    victim = Victim(Path(task["victim"]), task["cutoff"], task["longest"])
    margins = [float(victim([tuple(seed)])[0, 1]) + task["cutoff"] for seed in task["seeds"]]
    answer = {"margins": margins, "searches": [attack(name, task) for name in SEARCHES]}
    Path(sys.argv[2]).write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main()
