"""Scoring with torch: in fp32, or in bf16 where the machine is good at it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from transformers import AutoConfig, AutoModel

from engine.classifiers.artifact import CONFIG, WEIGHTS, present
from engine.classifiers.hardware import device
from engine.classifiers.network import Network
from engine.classifiers.recipe import Recipe
from engine.classifiers.scoring import LengthBucketed
from engine.classifiers.tokens import Batch, PairTokenizer
from engine.errors import BadInput


def read_network(folder: Path, recipe: Recipe) -> Network:
    """The trained network in fp32, in eval mode. Raises BadInput naming the file that is missing or damaged."""
    file = present(folder, WEIGHTS)
    config_file = present(folder, CONFIG)
    try:
        config = AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
        encoder = AutoModel.from_config(config, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(f"is not an encoder's configuration ({error})", where=str(config_file)) from error
    network = Network(encoder, dropout=recipe.dropout, seed=recipe.seed)
    try:
        network.load_state_dict(load_file(file))
    except (SafetensorError, RuntimeError) as error:
        raise BadInput(f"does not hold this network's weights ({error})", where=str(file)) from error
    return network.eval()


class TorchClassifier(LengthBucketed):
    """The network in fp32 or bf16, on the GPU if there is one. The head stays in fp32."""

    def __init__(self, network: Network, tokenizer: PairTokenizer, dtype: torch.dtype = torch.float32) -> None:
        super().__init__(tokenizer)
        self._device = device()
        self._network = network.eval().to(self._device)
        nn.Module.to(self._network.encoder, dtype)
        self.budget = 2048 if self._device.type == "cpu" else 65536

    def _margins(self, batch: Batch) -> NDArray[np.float32]:
        with torch.inference_mode():
            margin = self._network.margin(*(torch.from_numpy(part).to(self._device) for part in batch))
        return margin.float().cpu().numpy()
