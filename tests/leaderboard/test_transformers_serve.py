"""A real OpenAI-compatible server, ``transformers serve``, with the tiny model behind it.

Under greedy decoding its agent answers as the same checkpoint does in this process, letter by letter but for blanks
around an answer. For that the server must

* see the picture: without torchvision, transformers alone cannot make the processors of most models and serves them as
  if they read text only. Importing ``gtr_agent.processor`` first makes processors for pictures known, as below;
* compute in the checkpoint's precision: ``--dtype`` follows the weights, float32 here, as on the CPU in this process.

Nothing else differs: the server puts the message through the model's own chat template and processor, and its weights
decode greedily at temperature 0. The placeholders of pictures, which cannot be written in this process, could be there,
but a model that writes one is not to be expected.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gtr_envs.episode import Policy, Request, Response
from leaderboard.agents import AgentOptions, describe_agent, load_agent
from leaderboard.evaluate import evaluate
from leaderboard.summary import Result

for library in ("torch", "transformers", "openai", "fastapi", "uvicorn"):
    pytest.importorskip(library, reason="needs the extras agent, api and dev")

ROOT = Path(__file__).resolve().parents[2]
ENV = "gtr/EZPoints-v0"
N_EPISODES = 4
START_S = 180
SERVE = "import gtr_agent.processor; from transformers.cli.transformers import main; main()"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model as if made elsewhere, its weights large enough for an answer to depend on the picture."""
    import torch

    from gtr_agent.model import load_model
    from gtr_agent.tiny import init_tiny

    folder = init_tiny(tmp_path_factory.mktemp("served") / "tiny", 0, ENV)
    model = load_model(folder)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(3.0 if weight.dim() > 1 else 1.0)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def server(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of a server that serves it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log.txt"
    command = [sys.executable, "-c", SERVE, "serve", str(checkpoint), "--host", "127.0.0.1", "--port", str(port)]
    with log.open("w") as output:
        process = subprocess.Popen([*command, "--device", "cpu"], cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + START_S
        while not _is_up(f"http://127.0.0.1:{port}/health"):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(30)


def _is_up(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def play(policy: Policy, spec: str, name: str, out: Path) -> Result:
    card = describe_agent(spec, policy, name=name)
    return evaluate(policy, ENV, {}, agent=card, seed=0, n_episodes=N_EPISODES, out_dir=out)


class _Counting:
    """Passes questions on and adds up the tokens that a checkpoint reads."""

    def __init__(self, policy: Any) -> None:
        self.policy, self.name, self.meta, self.prompt_tokens = policy, policy.name, policy.meta, 0

    def act(self, requests: list[Request]) -> list[Response]:
        from gtr_agent.layout import encode_prompts

        for request in requests:
            self.prompt_tokens += encode_prompts(self.policy.processor, [request.prompt], [request.frame]).width
        return list(self.policy.act(requests))


def test_greedily_the_served_model_answers_as_the_checkpoint_does(
    checkpoint: Path, server: str, tmp_path: Path
) -> None:
    options = AgentOptions(greedy=True, max_new_tokens=16, base_url=server, concurrency=2)
    local = _Counting(load_agent(str(checkpoint), options))
    here = play(local, str(checkpoint), "here", tmp_path)
    spec = f"openai:{checkpoint}"
    served = load_agent(spec, options)
    there = play(served, spec, "there", tmp_path)

    # The server leaves out blanks around an answer, which the protocol passes over anyway.
    texts = [[[turn.text.strip() for turn in episode.turns] for episode in result.episodes] for result in (here, there)]
    assert texts[0] == texts[1]
    actions = [[[turn.action for turn in episode.turns] for episode in result.episodes] for result in (here, there)]
    assert actions[0] == actions[1]
    first_answers = {episode.turns[0].text for episode in here.episodes}
    assert len(first_answers) == N_EPISODES, "the words are the same, so the picture was looked at"

    usage = served.usage  # type: ignore[attr-defined]
    assert usage["prompt_tokens"] == local.prompt_tokens, "the same tokens went in, those of the picture among them"
    assert there.summary.tokens_out == here.summary.tokens_out == usage["completion_tokens"]
    assert (there.meta.method, there.meta.base_model, there.meta.temperature) == ("api", "tiny", 0.0)
