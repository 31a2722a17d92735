from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from engine.classifiers import Recipe, layer_cache
from engine.classifiers.encoders import load_encoder, load_tokenizer
from engine.classifiers.layer_cache import forward_of
from engine.classifiers.network import Network, freeze_below
from engine.classifiers.tokens import PairTokenizer, Tokens
from engine.errors import BadInput
from tests.engine.tiny_encoders import CONFIGS, examples, write_encoder


def network(folder: Path, kind: str = "bert") -> Network:
    return Network(load_encoder(str(write_encoder(folder, kind))), dropout=0.3, seed=0).eval()


def tokens_of(folder: Path, n: int = 6) -> Tokens:
    tokenizer = PairTokenizer(load_tokenizer(str(folder)).backend_tokenizer, max_tokens=64, pad_id=0)
    return tokenizer.encode([example.snippet for example in examples(n)])


def test_the_head_sees_the_mean_over_tokens_and_no_padding(tmp_path: Path) -> None:
    net, tokens = network(tmp_path), tokens_of(tmp_path)
    batch = [torch.from_numpy(part) for part in tokens.batch(np.arange(6), 0)]
    with torch.no_grad():
        together = net(*batch).numpy()
        for row in range(6):
            alone = [torch.from_numpy(part) for part in tokens.batch(np.array([row]), 0)]
            hidden = net.encoder(input_ids=alone[0], token_type_ids=alone[2]).last_hidden_state[0]
            by_hand = hidden.mean(0) @ net.head.weight.T + net.head.bias
            assert together[row] == pytest.approx(by_hand.numpy(), abs=1e-5)
        assert net.margin(*batch).numpy() == pytest.approx(together[:, 1] - together[:, 0], abs=1e-6)


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("cache_bytes", [0, 1 << 30], ids=["recomputed", "cached"])
def test_training_the_top_only_starts_from_the_whole_networks_logits(
    kind: str, cache_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layer_cache, "CACHE_BYTES", cache_bytes)
    net, tokens, rows = network(tmp_path, kind), tokens_of(tmp_path), np.array([4, 1, 3])
    recipe = Recipe(trainable_layers=2, precision="fp32", dropout=0, hidden_dropout=0)
    with torch.no_grad():
        expected = net(*(torch.from_numpy(part) for part in tokens.batch(rows, 0)))
    steps: list[int] = []
    with forward_of(net, tokens, recipe, pad_id=0, step=steps.append) as forward:
        net.eval()
        logits = forward(rows)
        logits.sum().backward()
    assert logits.detach().numpy() == pytest.approx(expected.numpy(), abs=2e-3)
    assert sum(steps) == (6 if cache_bytes else 0)
    learnt = {name for name, parameter in net.named_parameters() if parameter.grad is not None}
    assert learnt == {name for name, parameter in net.named_parameters() if parameter.requires_grad}
    assert any(".2." in name for name in learnt)
    assert not any(".0." in name or "embeddings" in name for name in learnt)
    with torch.no_grad():  # and the encoder is whole again
        again = net(*(torch.from_numpy(part) for part in tokens.batch(rows, 0)))
    assert again.numpy() == pytest.approx(expected.numpy(), abs=1e-6)


def test_more_trainable_layers_than_there_are(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="trainable_layers: 4 is more than the encoder's 3 layers"):
        freeze_below(network(tmp_path), 4)


def test_layers_that_cannot_run_on_their_own_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net, tokens = network(tmp_path), tokens_of(tmp_path)
    longest = int(tokens.lengths.max())
    monkeypatch.setattr(layer_cache, "_gather", lambda *_: torch.ones(6, longest, 32) * torch.arange(32))
    with (
        pytest.raises(BadInput, match="cannot be run on their own"),
        forward_of(net, tokens, Recipe(trainable_layers=1), pad_id=0, step=lambda n: None),
    ):
        pass
