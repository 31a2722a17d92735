from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.attacks.substitution.suggest import SubstitutionEngine
from engine.attacks.substitution.words import Slot, words
from engine.classifiers.encoders import load_encoder, load_tokenizer
from engine.classifiers.hardware import device, multiplies_bf16
from engine.classifiers.network import Network
from engine.classifiers.tokens import PairTokenizer
from engine.classifiers.torch_scoring import TorchClassifier
from engine.classifiers.white_box import WhiteBox
from engine.snippets import Snippet
from tests.engine.tiny_encoders import CALM, CONFIGS, HARM, examples, write_encoder

SNIPPET = Snippet("The old man walked to the hall.", "The baker stabbed a girl.")


class Verbs:
    """Proposes the tiny world's verbs everywhere."""

    asked = 0

    def propose(self, snippet: Snippet, slots: Sequence[Slot], k: int) -> list[list[str]]:
        self.asked += 1
        return [[*CALM, *HARM][:k] for _ in slots]


def parts(folder: Path, kind: str = "bert", max_tokens: int = 64) -> tuple[WhiteBox, TorchClassifier, Network]:
    network = Network(load_encoder(str(write_encoder(folder, kind))), dropout=0.3, seed=0).eval()
    with torch.no_grad():
        network.head.weight.mul_(50)  # so that words differ by more than rounding
    backend = load_tokenizer(str(folder)).backend_tokenizer
    tokenizer = PairTokenizer(backend, max_tokens=max_tokens, pad_id=0)
    return WhiteBox(network, tokenizer), TorchClassifier(network, tokenizer), network


@pytest.mark.parametrize("kind", CONFIGS)
def test_gradients_are_those_of_finite_differences(tmp_path: Path, kind: str) -> None:
    white_box, classifier, network = parts(tmp_path, kind)
    found = white_box.gradients([SNIPPET])[0]
    assert found.logit == pytest.approx(float(classifier.logits([SNIPPET])[0]), abs=1e-5)
    place = int(np.flatnonzero(found.traced.parts == 1)[2])
    step, token = 1e-3, int(found.traced.ids[place])
    table = network.encoder.get_input_embeddings().weight
    assert (found.traced.ids == token).sum() == 1
    for column in (0, 7, 31):
        margins = []
        for sign in (1, -1):
            with torch.no_grad():
                table[token, column] += sign * step
                margins.append(float(classifier.logits([SNIPPET])[0]))
                table[token, column] -= sign * step
        by_hand = (margins[0] - margins[1]) / (2 * step)
        assert found.gradient[place, column] == pytest.approx(by_hand, abs=2e-3, rel=2e-2)


def test_gradients_do_not_depend_on_what_else_is_in_the_batch(tmp_path: Path) -> None:
    white_box, *_ = parts(tmp_path)
    snippets = [example.snippet for example in examples(7)]
    together = white_box.gradients(snippets)
    for snippet, found in zip(snippets, together, strict=True):
        alone = white_box.gradients([snippet])[0]
        assert np.array_equal(alone.traced.ids, found.traced.ids)
        assert found.gradient == pytest.approx(alone.gradient, abs=1e-5)
        assert found.logit == pytest.approx(alone.logit, abs=1e-5)
    assert white_box.gradients([]) == []


def test_tokens_know_where_they_come_from(tmp_path: Path) -> None:
    white_box, *_ = parts(tmp_path)
    traced = white_box.gradients([SNIPPET])[0].traced
    found = [SNIPPET.completion[a:b] for (a, b), part in zip(traced.spans, traced.parts, strict=True) if part == 1]
    assert found == ["The", "baker", "stabbed", "a", "girl", "."]
    alone = white_box.gradients([Snippet("", "The baker rested.")])[0].traced
    assert alone.parts.tolist() == [-1, 1, 1, 1, 1, -1]


def test_saliency_is_the_norm_of_each_words_gradient(tmp_path: Path) -> None:
    white_box, classifier, network = parts(tmp_path)
    found = white_box.gradients([SNIPPET])[0]
    tokens = np.flatnonzero(found.traced.parts == 1)[:5]
    saliency = SubstitutionEngine(white_box, classifier, Verbs()).saliency(SNIPPET)
    assert [SNIPPET.completion[one.slot.start : one.slot.end] for one in saliency] == [
        "The",
        "baker",
        "stabbed",
        "a",
        "girl",
    ]
    table = network.encoder.get_input_embeddings().weight.detach().numpy()
    for one, token in zip(saliency, tokens, strict=True):
        assert one.magnitude == pytest.approx(float(np.linalg.norm(found.gradient[token])), rel=1e-5)
        assert one.pull == pytest.approx(float(found.gradient[token] @ table[found.traced.ids[token]]), rel=1e-4)


def test_suggestions_come_by_first_order_and_are_scored_exactly(tmp_path: Path) -> None:
    white_box, classifier, network = parts(tmp_path)
    engine = SubstitutionEngine(white_box, classifier, Verbs())
    verb = words(SNIPPET.completion)[2]
    suggestions = engine.suggest(SNIPPET, [verb])
    found = white_box.gradients([SNIPPET])[0]
    token = int(np.flatnonzero(found.traced.parts == 1)[2])
    table = network.encoder.get_input_embeddings().weight.detach().numpy()
    tokenizer = load_tokenizer(str(tmp_path))
    for one in suggestions:
        new = table[tokenizer.convert_tokens_to_ids(one.word)]
        by_hand = float((new - table[found.traced.ids[token]]) @ found.gradient[token])
        assert one.estimate == pytest.approx(by_hand, abs=1e-4)
        assert one.snippet == Snippet(SNIPPET.prompt, f"The baker {one.word} a girl.")
    assert [one.estimate for one in suggestions] == sorted(one.estimate for one in suggestions)
    batches = list(engine.exact(suggestions, sizes=(3, 4)))
    assert [len(batch) for batch in batches] == [3, 4, 1]
    scored = [one for batch in batches for one in batch]
    assert [one.suggestion for one in scored] == suggestions
    logits = classifier.logits([one.snippet for one in suggestions])
    assert [one.logit for one in scored] == pytest.approx(logits.tolist(), abs=1e-5)


def test_all_places_at_once_are_words_and_gaps(tmp_path: Path) -> None:
    white_box, classifier, _ = parts(tmp_path)
    source = Verbs()
    suggestions = SubstitutionEngine(white_box, classifier, source).suggest(SNIPPET, k=2)
    assert source.asked == 1
    assert len(suggestions) == 2 * (5 + 5)
    inserted = {one.snippet.completion for one in suggestions if one.slot.is_gap and one.word == CALM[0]}
    assert inserted == {
        "The greeted baker stabbed a girl.",
        "The baker greeted stabbed a girl.",
        "The baker stabbed greeted a girl.",
        "The baker stabbed a greeted girl.",
        "The baker stabbed a girl greeted.",
    }


def test_what_was_found_of_a_text_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    white_box, classifier, _ = parts(tmp_path)
    engine = SubstitutionEngine(white_box, classifier, Verbs())
    first = engine.suggest(SNIPPET)
    scored = list(engine.exact(first))
    monkeypatch.setattr(white_box, "gradients", lambda snippets: pytest.fail("asked again"))
    monkeypatch.setattr(classifier, "logits", lambda snippets: pytest.fail("asked again"))
    assert engine.suggest(SNIPPET) == first
    assert list(engine.exact(first)) == scored
    assert len(engine.deletions(SNIPPET)) == 5


def test_deletions_leave_one_word_out(tmp_path: Path) -> None:
    white_box, classifier, _ = parts(tmp_path)
    found = SubstitutionEngine(white_box, classifier, Verbs()).deletions(SNIPPET)
    assert {one.snippet.completion for one in found} == {
        "Baker stabbed a girl.",
        "The stabbed a girl.",
        "The baker a girl.",
        "The baker stabbed girl.",
        "The baker stabbed a.",
    }
    assert {one.word for one in found} == {""}


def test_what_the_encoder_cuts_off_matters_to_nothing(tmp_path: Path) -> None:
    white_box, classifier, _ = parts(tmp_path, max_tokens=8)
    long = Snippet("", "The baker stabbed a girl. " + "Then they rested. " * 9)
    engine = SubstitutionEngine(white_box, classifier, Verbs())
    assert [one.magnitude > 0 for one in engine.saliency(long)] == [True] * 5 + [False] * 27
    last = words(long.completion)[-1]
    suggestions = engine.suggest(long, [last])
    assert [one.estimate for one in suggestions] == [0.0] * 8
    logits = [logit for batch in engine.exact(suggestions) for _, logit in batch]
    assert logits == pytest.approx([logits[0]] * 8, abs=1e-5)


def test_empty_texts_and_other_scripts_have_nothing_to_change_or_are_changed(tmp_path: Path) -> None:
    white_box, classifier, _ = parts(tmp_path)
    engine = SubstitutionEngine(white_box, classifier, Verbs())
    for nothing in (Snippet("", ""), Snippet("The hall.", "\U0001f600 ...")):
        assert engine.saliency(nothing) == engine.suggest(nothing) == engine.deletions(nothing) == []
        assert list(engine.exact([])) == []
    greek = Snippet("", "Γεια γέρος έφυγε.")
    assert [one.snippet.completion for one in engine.suggest(greek, words(greek.completion)[1:2], k=1)] == [
        "Γεια greeted έφυγε."
    ]


@pytest.mark.skipif(not multiplies_bf16(device()), reason="this machine is no good at bf16")
def test_gradients_in_bf16_point_where_those_in_fp32_do(tmp_path: Path) -> None:
    white_box, _, network = parts(tmp_path)
    tokenizer = PairTokenizer(load_tokenizer(str(tmp_path)).backend_tokenizer, max_tokens=64, pad_id=0)
    snippets = [example.snippet for example in examples(7)]
    half = WhiteBox(network, tokenizer, precision="bf16").gradients(snippets)
    for exact, rough in zip(white_box.gradients(snippets), half, strict=True):
        norms = np.linalg.norm(exact.gradient) * np.linalg.norm(rough.gradient)
        assert float((exact.gradient * rough.gradient).sum() / norms) > 0.999
        assert not np.array_equal(exact.gradient, rough.gradient)
        assert rough.gradient.dtype == np.float32
        assert rough.logit == pytest.approx(exact.logit, abs=0.1)
