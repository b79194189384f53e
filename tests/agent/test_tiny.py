"""The tiny model is a real one: transformers and PEFT load it without knowing that it is tiny."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gtr_agent.layout import action_token_mask, encode_answers, encode_prompts
from gtr_agent.tiny import init_tiny, make_tokenizer
from gtr_envs.errors import OutputExistsError
from gtr_envs.protocol import read_answer, write_answer
from gtr_envs.tasks import task_for

TASK = task_for("gtr/Points24-v0")
ANSWER = write_answer(
    {
        "cards": [7, 10, 6, 3],
        "formula": "7 * 6",
        "thoughts": "7 * 6 = 42 10 3; 42 / 2 = 21 3; 21 + 3 = 24: 7 * 6 > / 2 + 3 =",
        "action": "/",
    }
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model itself, where other files' tests do with half of it."""
    return init_tiny(tmp_path_factory.mktemp("models") / "tiny", seed=0)


def test_transformers_loads_it(tiny: Path) -> None:
    from transformers import AutoModelForImageTextToText, AutoProcessor, Qwen2_5_VLForConditionalGeneration

    import gtr_agent.processor  # noqa: F401

    model = AutoModelForImageTextToText.from_pretrained(tiny)
    assert type(model) is Qwen2_5_VLForConditionalGeneration
    assert 1_000_000 < sum(weight.numel() for weight in model.parameters()) < 2_000_000
    assert AutoProcessor.from_pretrained(tiny).image_processor is not None


def test_the_seed_decides_the_weights(tiny: Path, tmp_path: Path) -> None:
    same = init_tiny(tmp_path / "same", seed=0)
    other = init_tiny(tmp_path / "other", seed=1)
    weights = "model.safetensors"
    assert (tiny / weights).read_bytes() == (same / weights).read_bytes()
    assert (tiny / weights).read_bytes() != (other / weights).read_bytes()


def test_it_overwrites_nothing(tiny: Path) -> None:
    before = sorted(tiny.iterdir())
    with pytest.raises(OutputExistsError, match="--out"):
        init_tiny(tiny)
    assert sorted(tiny.iterdir()) == before


def test_a_prompt_is_short_and_has_16_visual_tokens(processor: Any) -> None:
    frame = np.zeros((300, 300, 3), np.uint8)
    batch = encode_prompts(processor, [TASK.prompt({"formula": ("7", "*", "6")})], [frame])
    ids = batch.inputs["input_ids"][0].tolist()
    assert ids.count(processor.tokenizer.convert_tokens_to_ids("<|image_pad|>")) == 16
    assert len(ids) < 32
    assert batch.inputs["mm_token_type_ids"].sum() == 16


def test_an_answer_is_short_and_its_action_is_found(processor: Any) -> None:
    (tokens,), (offsets,) = encode_answers(processor, [ANSWER])
    assert len(tokens) < 50
    mask = action_token_mask(read_answer(ANSWER, TASK.allowed({}), TASK.keys), offsets)
    action = processor.tokenizer.decode([token for token, flag in zip(tokens, mask, strict=True) if flag])
    assert action == '", "action": "/"}<|im_end|>'
    assert mask == sorted(mask), "the action closes the answer"


def test_an_action_that_comes_first_is_found_too(processor: Any) -> None:
    text = '{"action": "+", "thoughts": "later"}'
    (tokens,), (offsets,) = encode_answers(processor, [text])
    mask = action_token_mask(read_answer(text, TASK.allowed({})), offsets)
    kept = [processor.tokenizer.decode([token]) for token, flag in zip(tokens, mask, strict=True) if flag]
    # One token holds the end of the action and the next key; it belongs to the action.
    assert "".join(kept) == '"action": "+", "thoughts": "'


def test_an_invalid_answer_is_all_thought(processor: Any) -> None:
    (_,), (offsets,) = encode_answers(processor, ["no idea"])
    assert not any(action_token_mask(read_answer("no idea", TASK.allowed({})), offsets))


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return make_tokenizer()


@given(text=st.text(max_size=60))
def test_any_text_survives_the_tokenizer(tokenizer: Any, text: str) -> None:
    import unicodedata

    text = unicodedata.normalize("NFC", text)  # as Qwen's tokenizer does
    assert tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=False) == text


def test_the_picture_changes_the_answer(actor: Any, processor: Any) -> None:
    black, white = np.zeros((300, 300, 3), np.uint8), np.full((300, 300, 3), 255, np.uint8)
    batch = encode_prompts(processor, ["what?", "what?"], [black, white])
    with torch.no_grad():
        logits = actor.causal(**batch.inputs).logits[:, -1]
    assert not torch.allclose(logits[0], logits[1])
