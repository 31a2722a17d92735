"""How many examples a second does training take in, against the Hugging Face Trainer?

Peer: `transformers.Trainer` on the same network (MiniLM whole, mean pooling, dropout, a linear head) and the same
upsampled examples, batch size, optimiser, schedule and precision, for one epoch on two threads. As it comes, it draws
batches at random and pads each to its longest text; beside it, the same with its own option to group texts by length.
Ours cuts batches of similar length. All learn in turn, once for each seed; tokenising, loading and writing are in no
time. Learning is compared by the loss curve and by the loss on held-out texts. Our default recipe, which trains the top
layers only, stands beside them. Where there is a GPU, a random network of the shapes of DeBERTa-v3-large is trained as
well, and the share of the card's peak arithmetic is told.

Texts: windows of stories in ../shared/data/stories or --stories DIR, else of the story world, as a round samples them;
a window is positive if it fits the word rules of the policy `injury`.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import numpy as np  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from _common import finish  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from engine.classifiers import Example, Recipe, load, train  # noqa: E402
from engine.classifiers.encoders import load_encoder, load_tokenizer  # noqa: E402
from engine.classifiers.hardware import device, multiplies_bf16  # noqa: E402
from engine.classifiers.network import Network  # noqa: E402
from engine.classifiers.tokens import PairTokenizer, Tokens  # noqa: E402
from engine.classifiers.torch_scoring import TorchClassifier  # noqa: E402
from engine.classifiers.upsampling import upsample  # noqa: E402
from engine.corpus import read_stories, sample_snippets  # noqa: E402
from engine.corpus.stories import Story  # noqa: E402
from engine.policies import load_policy  # noqa: E402
from engine.simulation import StoryWorld  # noqa: E402

TARGET = 1.3
WHOLE = Recipe(trainable_layers=None, epochs=1, learning_rate=1e-4, export_int8=False)
POINTS = 10
PEAK = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L4": 121e12, "4090": 165e12}
"""bf16 operations a second, dense, as the makers say."""


class Run(NamedTuple):
    """Examples a second, training losses over tenths of the epoch, loss on held-out texts."""

    speed: float
    curve: list[float]
    held_out: float


def main() -> None:
    """Trains with all in turn, prints."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true", help="160 examples and one seed, not 1,500 and three")
    options.add_argument("--examples", type=int, help="texts to train on (1,500, or 160 with --quick)")
    options.add_argument("--seeds", type=int, help="how many (3, or 1 with --quick)")
    options.add_argument("--stories", type=Path, default=ROOT.parent / "shared" / "data" / "stories")
    chosen = options.parse_args()
    transformers.logging.set_verbosity(logging.CRITICAL)
    transformers.logging.disable_progress_bar()
    size = chosen.examples or (160 if chosen.quick else 1500)
    seeds = range(chosen.seeds or (1 if chosen.quick else 3))
    examples, held_out, source = texts(chosen.stories, size, size // 3)
    positive = sum(one.positive for one in examples)
    print(f"{len(examples)} texts of {source}, {positive} positive; on {device().type}", flush=True)
    runs: dict[str, list[Run]] = {"ours": [], "Trainer": [], "Trainer, grouped": [], "ours, default recipe": []}
    for seed in seeds:
        recipe = WHOLE.model_copy(update={"seed": seed})
        top = Recipe(epochs=1, export_int8=False, seed=seed)
        turns = {
            "ours": partial(ours, examples, held_out, recipe),
            "Trainer": partial(trainer, examples, held_out, recipe, grouped=False),
            "Trainer, grouped": partial(trainer, examples, held_out, recipe, grouped=True),
            "ours, default recipe": partial(ours, examples, held_out, top),
        }
        for name, turn in turns.items():
            runs[name].append(turn())
            print(f"seed {seed}, {name}: {runs[name][-1].speed:.1f} examples/s", flush=True)
    large = on_gpu() if torch.cuda.is_available() else "no GPU here: DeBERTa-v3-large was not trained"
    print(f"large shapes: {large}")
    report(runs, source, large, quick=chosen.quick or len(seeds) < 2)


def texts(folder: Path, n: int, more: int) -> tuple[list[Example], list[Example], str]:
    """`n` examples to train on and `more` held out, and where they are from."""
    policy = load_policy("injury")
    if folder.is_dir():
        stories, source = read_stories(folder), folder.name
    else:
        made = (StoryWorld().story(number) for number in range(n))
        stories, source = (Story(f"{number}", one.text) for number, one in enumerate(made)), "the story world"
    found = list(sample_snippets(stories, policy, seed=0, limit=n + more, similarity=None))
    examples = [Example(one.snippet, one.enriched) for one in found]
    order = np.random.default_rng(0).permutation(len(examples))
    shuffled = [examples[place] for place in order]
    return shuffled[:n], shuffled[n:], source


def ours(examples: list[Example], held_out: list[Example], recipe: Recipe) -> Run:
    """`engine.classifiers.train`."""
    with tempfile.TemporaryDirectory() as folder:
        result = train(examples, recipe, out_dir=Path(folder) / "model")
        logits = load(result.path, precision="fp32").logits([one.snippet for one in held_out])
        return Run(result.examples_per_second, [point.training_loss for point in result.curve], loss(logits, held_out))


def trainer(examples: list[Example], held_out: list[Example], recipe: Recipe, *, grouped: bool) -> Run:
    """`transformers.Trainer` with the recipe's values."""
    files = load_tokenizer(recipe.encoder)
    network = Network(load_encoder(recipe.encoder), dropout=recipe.dropout, seed=recipe.seed)
    tokenizer = PairTokenizer(files.backend_tokenizer, max_tokens=recipe.max_tokens, pad_id=files.pad_token_id)
    tokens = tokenizer.encode([one.snippet for one in examples])
    positive = np.array([one.positive for one in examples])
    rows = [item(tokens, row, bool(positive[row])) for row in upsample(positive, cap=recipe.upsample_cap, seed=0)]
    with tempfile.TemporaryDirectory() as folder:
        steps = -(-len(rows) // recipe.batch_size)
        arguments = transformers.TrainingArguments(
            output_dir=folder,
            num_train_epochs=recipe.epochs,
            per_device_train_batch_size=recipe.batch_size,
            learning_rate=recipe.learning_rate,
            lr_scheduler_type="linear",
            warmup_steps=round(steps * recipe.warmup),
            weight_decay=recipe.weight_decay,
            max_grad_norm=recipe.max_grad_norm,
            optim="adamw_torch_fused",
            bf16=recipe.precision == "bf16" and multiplies_bf16(device()),
            logging_steps=max(1, round(steps * recipe.epochs / POINTS)),
            train_sampling_strategy="group_by_length" if grouped else "random",
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            dataloader_pin_memory=False,
            use_cpu=not torch.cuda.is_available(),
            seed=recipe.seed,
        )
        peer = transformers.Trainer(
            model=Peer(network),
            args=arguments,
            train_dataset=rows,
            data_collator=transformers.DataCollatorWithPadding(files),
            callbacks=[],
        )
        peer.remove_callback(transformers.PrinterCallback)
        done = peer.train()
    curve = [float(entry["loss"]) for entry in peer.state.log_history if "loss" in entry]
    logits = TorchClassifier(network, tokenizer).logits([one.snippet for one in held_out])
    return Run(recipe.epochs * len(rows) / done.metrics["train_runtime"], curve, loss(logits, held_out))


class Peer(nn.Module):
    """The network as the Trainer calls one."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor, labels: Tensor) -> dict:
        """Loss and logits."""
        logits = self.network(input_ids, attention_mask, token_type_ids)
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def item(tokens: Tokens, row: int, positive: bool) -> dict[str, list[int] | int]:
    """One example as Trainer's collator takes it."""
    at = slice(tokens.starts[row], tokens.starts[row + 1])
    ids = tokens.ids[at].tolist()
    return {
        "input_ids": ids,
        "attention_mask": [1] * len(ids),
        "token_type_ids": tokens.types[at].tolist(),
        "labels": int(positive),
    }


def loss(logits: np.ndarray, examples: list[Example]) -> float:
    """Mean cross entropy of these margins."""
    signs = np.array([1 if one.positive else -1 for one in examples])
    return float(np.logaddexp(0, -signs * logits.astype(np.float64)).mean())


def on_gpu(size: int = 2000, **smaller: int) -> dict[str, object]:
    """Ours and the Trainer on a random network of DeBERTa-v3-large's shapes, one epoch of running text."""
    examples, _, _ = texts(Path("/nowhere"), size, 0)
    shapes = {
        "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096,
        "vocab_size": 128_100, "max_position_embeddings": 512, **smaller,
    }  # fmt: skip
    config = transformers.DebertaV2Config(
        **shapes, type_vocab_size=0, relative_attention=True, position_buckets=256, norm_rel_ebd="layer_norm",
        share_att_key=True, pos_att_type=["p2c", "c2p"], position_biased_input=False,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        model = transformers.AutoModel.from_config(config)
        model.save_pretrained(folder)
        load_tokenizer("minilm").save_pretrained(folder)
        weights = sum(one.numel() for one in model.parameters()) - model.get_input_embeddings().weight.numel()
        recipe = WHOLE.model_copy(update={"encoder": folder, "batch_size": 32, "learning_rate": 1e-5})
        train(examples[:64], recipe, out_dir=Path(folder) / "warm")
        mine, theirs = ours(examples, examples[:8], recipe), trainer(examples, examples[:8], recipe, grouped=False)
        tokenizer = PairTokenizer(load_tokenizer(folder).backend_tokenizer, max_tokens=256, pad_id=0)
    lengths = tokenizer.encode([one.snippet for one in examples]).lengths
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    peak = next((value for card, value in PEAK.items() if card in name), None)
    # Six operations a weight and token, forward and backward; attention and padding left out.
    work = mine.speed * float(lengths.mean()) * 6 * weights
    return {
        "card": name,
        "ours": round(mine.speed, 1),
        "trainer": round(theirs.speed, 1),
        "ratio": round(mine.speed / theirs.speed, 2),
        "share_of_peak": round(work / peak, 3) if peak else None,
    }


def report(runs: dict[str, list[Run]], source: str, large: object, *, quick: bool) -> None:
    """The table, the curves, the ratio."""
    speeds = {name: float(np.median([run.speed for run in all_])) for name, all_ in runs.items()}
    print(f"\n{'':22}{'examples/s':>12}{'held-out loss, by seed':>36}")
    for name, all_ in runs.items():
        print(f"{name:22}{speeds[name]:>12.1f}{', '.join(f'{run.held_out:.4f}' for run in all_):>36}")
    print("\ntraining loss over the epoch, mean over seeds")
    for name in ("ours", "Trainer"):
        width = min(len(run.curve) for run in runs[name])
        curve = np.mean([run.curve[:width] for run in runs[name]], axis=0)
        print(f"{name:22}{'  '.join(f'{value:.3f}' for value in curve)}")
    final = {name: np.array([run.held_out for run in runs[name]]) for name in ("ours", "Trainer")}
    apart = float(final["ours"].mean() - final["Trainer"].mean())
    spread = float(np.sqrt(sum(one.var(ddof=1) / len(one) for one in final.values()))) if not quick else None
    print(f"\nheld-out loss, ours less Trainer's: {apart:+.4f}" + (f", standard error {spread:.4f}" if spread else ""))
    ratio = speeds["ours"] / speeds["Trainer"]
    print(f"ratio {ratio:.2f}, target {TARGET}; grouped by length {speeds['ours'] / speeds['Trainer, grouped']:.2f}")
    finish(
        "training_vs_trainer",
        ours=round(speeds["ours"], 1),
        peer=round(speeds["Trainer"], 1),
        ratio=round(ratio, 2),
        target=TARGET,
        grouped=round(speeds["Trainer, grouped"], 1),
        default_recipe=round(speeds["ours, default recipe"], 1),
        loss_difference=round(apart, 4),
        loss_standard_error=spread and round(spread, 4),
        texts=source,
        large=large,
        quick=quick,
    )


if __name__ == "__main__":
    main()
