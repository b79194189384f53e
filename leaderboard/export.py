"""Results in the forms that the Hugging Face Hub reads, beside a checkpoint.

* ``model-index`` in the front matter of the checkpoint's ``README.md``: the model card's own results.
* ``.eval_results/*.yaml``: entries of a benchmark's leaderboard on the Hub, which names a data set registered there.

Only what this module wrote itself is ever replaced: of a card, the results whose ``dataset.args.harness`` is ours; of
the other files, those that begin with :data:`MARK`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from gtr_envs.errors import CheckpointError, OutputExistsError, ResultError
from gtr_envs.storage import write_atomic
from leaderboard.agent_card import fingerprint
from leaderboard.pool import Pool, ranked
from leaderboard.records import RunMeta
from leaderboard.standings import sampling
from leaderboard.summary import Result
from leaderboard.table import finished_only

CARD = "README.md"
HARNESS = "gtr-bench"
MARK = "# Written by gtr-bench export; the next export replaces it.\n"
INDEX = re.compile(r"^model-index:[^\r\n]*(?:\r?\n[ -][^\r\n]*)*", re.MULTILINE)
"""The lines of a front matter that are its ``model-index``, as it is commonly written."""


def find_weights(folder: Path) -> Path:
    """The folder that holds a checkpoint's weights: itself, or of a run its newest checkpoint.

    Raises:
        CheckpointError: there are none.
    """
    from gtr_agent.run_folder import latest_checkpoint

    if not folder.is_dir():
        raise CheckpointError(f"no folder {folder}; --checkpoint takes a checkpoint, a model or a run")
    if any(folder.glob("*.safetensors")) or any(folder.glob("*.bin")):
        return folder
    latest = latest_checkpoint(folder)
    if latest is None:
        raise CheckpointError(f"{folder} holds no weights; --checkpoint takes a checkpoint, a model or a run")
    return latest


def own_lines(results: Sequence[Result], weights: Path) -> list[Pool]:
    """The figures of the evaluations of these weights, pooled over seeds.

    Args:
        results: evaluations, other agents' among them; unfinished ones are left out.
        weights: the checkpoint's folder.

    Raises:
        ResultError: none of them is finished and of these weights.
    """
    digest = fingerprint(weights)
    own = [result for result in finished_only(results) if result.meta.fingerprint == digest]
    if not own:
        others = ", ".join(sorted({result.meta.agent for result in results}))
        raise ResultError(
            f"none of these results is of the weights in {weights} (digest {digest}); they are of: {others}; "
            f"evaluate it with gtr-bench eval --agent {weights}"
        )
    return ranked(own)


def _how(meta: RunMeta) -> str:
    """The rules and the sampling of an evaluation, in words."""
    return ", ".join([f"{meta.rules} rules", *([] if meta.temperature is None else [sampling(meta.temperature)])])


def _bounds(low: float, high: float, digits: int) -> list[float] | None:
    return [round(low, digits), round(high, digits)] if math.isfinite(low) and math.isfinite(high) else None


def model_index_results(lines: Sequence[Pool]) -> list[dict[str, Any]]:
    """One agent's figures as results of a ``model-index``: success rate (0 to 1) and mean return, with intervals."""
    from huggingface_hub import EvalResult, ModelCardData

    found = []
    for line in lines:
        meta, rate, mean = line.meta, line.success.rate, line.episode_return
        arguments = {"harness": f"{HARNESS} {meta.version}", "seeds": list(line.seeds), "n_episodes": line.success.n}
        for kind, name, stat in (("success_rate", "success rate", rate), ("mean_reward", "mean episode return", mean)):
            bounds = _bounds(stat.low, stat.high, 4)
            result = EvalResult(
                task_type="reinforcement-learning",
                task_name="Reinforcement learning",
                dataset_type=meta.env_id,
                dataset_name=meta.env_id,
                dataset_config=_how(meta),
                dataset_split=meta.split,
                dataset_args=arguments,
                metric_type=kind,
                metric_name=name,
                metric_value=round(stat.value, 4),
                metric_args={"confidence_interval_95": bounds} if bounds else None,
            )
            found.append(result)
    return list(ModelCardData(model_name="", eval_results=found).to_dict()["model-index"][0]["results"])


def _is_ours(entry: Any) -> bool:
    arguments = (entry.get("dataset") or {}).get("args") if isinstance(entry, dict) else None
    return isinstance(arguments, dict) and str(arguments.get("harness", "")).startswith(HARNESS)


def merge_card(card: str, name: str, results: Sequence[dict[str, Any]]) -> str:
    """A model card with these results in its ``model-index``; all else in it stays as it is, byte for byte.

    Where the index is so written that it cannot be replaced alone, the library writes the whole front matter anew.

    Args:
        card: its text, empty for a new one.
        name: the model's, where the card has no ``model-index`` yet.
        results: ours; those of an earlier export give way to them.

    Raises:
        CheckpointError: the card's front matter cannot be read, so that writing might lose something.
    """
    import yaml
    from huggingface_hub import CardData
    from huggingface_hub.repocard import REGEX_YAML_BLOCK, RepoCard

    newline = "\r\n" if "\r\n" in card else "\n"
    there = REGEX_YAML_BLOCK.search(card)  # the Hub's own idea of a front matter
    if there is None:
        card = newline.join(["---", "", "---", "", card or f"# {name}{newline}"])
    try:
        whole = RepoCard(card)  # not a ModelCard, which keeps of other people's results only the fields that it knows
        first, *others = whole.data.get("model-index") or [{"name": name}]
        theirs = [entry for entry in first.get("results") or [] if not _is_ours(entry)]
        whole.data["model-index"] = [{**first, "results": [*theirs, *results]}, *others]
    except (yaml.YAMLError, AttributeError, TypeError, ValueError) as error:
        said = f"the front matter of {CARD} cannot be read ({error}); mend it, then export again"
        raise CheckpointError(said) from error
    if there is not None:
        index = CardData(**{"model-index": whole.data["model-index"]}).to_yaml(newline)
        front, replaced = INDEX.subn(lambda _: index, there[2], count=1)
        front = front if replaced else f"{front}{newline}{index}"
        merged = card[: there.start(2)] + front + card[there.end(2) :]
        with suppress(yaml.YAMLError, TypeError, ValueError):
            if RepoCard(merged).data.to_dict() == whole.data.to_dict():
                return merged
    return str(whole)


def write_model_card(weights: Path, lines: Sequence[Pool]) -> Path:
    """Put the figures into the ``model-index`` of a checkpoint's card; a card is made where there is none.

    Raises:
        CheckpointError: the card that is there cannot be read.
    """
    path = weights / CARD
    try:
        card = path.read_bytes().decode("utf-8-sig") if path.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}); mend it, then export again") from error
    write_atomic(path, merge_card(card, lines[0].meta.agent, model_index_results(lines)))
    return path


def task_id(meta: RunMeta) -> str:
    """The task's name within the benchmark: environment, split, and the rules where they are not the plain ones."""
    rules = "" if meta.rules == "strict" else f"-{meta.rules}"
    text = f"{meta.env_id.removeprefix('gtr/')}-{meta.split}{rules}".lower()
    return re.sub(r"[^a-z0-9]+", "_", text).strip("_")


def write_eval_results(weights: Path, lines: Sequence[Pool], dataset: str) -> list[Path]:
    """Write the figures as files in a checkpoint's ``.eval_results``, one each: success in percent.

    Args:
        weights: the checkpoint's folder.
        lines: of one agent.
        dataset: the benchmark's data set on the Hub, such as ``org/name``.

    Raises:
        OutputExistsError: a file of that name was written by somebody else; none is written then.
    """
    import yaml
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    files: dict[Path, str] = {}
    for line in lines:
        meta, rate, task = line.meta, line.success.rate, task_id(line.meta)
        seeds = ", ".join(map(str, line.seeds))
        notes = f"{_how(meta)}; {line.success.n} episodes, seeds {seeds}; gtr-bench {meta.version}"
        if bounds := _bounds(100 * rate.low, 100 * rate.high, 2):
            notes += f"; 95% interval {bounds[0]} to {bounds[1]}"
        entry = EvalResultEntry(dataset, task, round(100 * rate.value, 2), date=meta.date, notes=notes)
        how = "" if meta.temperature is None else "_greedy" if meta.temperature == 0 else f"_t{meta.temperature:g}"
        path = weights / ".eval_results" / f"gtr_bench_{task}{how}.yaml"
        files[path] = MARK + yaml.safe_dump(eval_result_entries_to_yaml([entry]), sort_keys=False, allow_unicode=True)
        if path.exists() and not path.read_bytes().startswith(MARK.encode()):
            raise OutputExistsError(f"{path} was not written by gtr-bench export; move it away, then export again")
    for path, text in files.items():
        write_atomic(path, text)
    return list(files)
