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
from pathlib import Path
from typing import Any

from gtr_envs.errors import CheckpointError, OutputExistsError, ResultError
from leaderboard.agent_card import fingerprint
from leaderboard.records import RunMeta, write_atomic
from leaderboard.site.lines import Line, make_lines
from leaderboard.standings import sampling
from leaderboard.summary import Result
from leaderboard.table import finished_only

CARD = "README.md"
EVAL_RESULTS = ".eval_results"
HARNESS = "gtr-bench"
MARK = "# Written by gtr-bench export; the next export replaces it.\n"
TASK = ("reinforcement-learning", "Reinforcement learning")

FRONT = re.compile(r"\A---[ \t]*\r?\n(.*?)^---[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)


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


def own_lines(results: Sequence[Result], weights: Path) -> list[Line]:
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
    return make_lines(own)


def _how(meta: RunMeta) -> str:
    """The rules and the sampling of an evaluation, in words."""
    return ", ".join([f"{meta.rules} rules", *([] if meta.temperature is None else [sampling(meta.temperature)])])


def _bounds(low: float, high: float, digits: int) -> list[float] | None:
    return [round(low, digits), round(high, digits)] if math.isfinite(low) and math.isfinite(high) else None


def model_index_results(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """The figures as results of a ``model-index``: success rate (0 to 1) and mean return, with their intervals.

    Args:
        lines: of one agent.
    """
    from huggingface_hub import EvalResult
    from huggingface_hub.repocard_data import eval_results_to_model_index

    found = []
    for line in lines:
        meta, rate, mean = line.results[0].meta, line.success.rate, line.episode_return
        place: dict[str, Any] = {
            "task_type": TASK[0],
            "task_name": TASK[1],
            "dataset_type": meta.env_id,
            "dataset_name": meta.env_id,
            "dataset_config": _how(meta),
            "dataset_split": meta.split,
            "dataset_args": {
                "harness": f"{HARNESS} {meta.version}",
                "seeds": list(line.seeds),
                "n_episodes": line.success.n,
            },
        }
        figures = (
            ("success_rate", "success rate", rate.value, _bounds(rate.low, rate.high, 4)),
            ("mean_reward", "mean episode return", mean.value, _bounds(mean.low, mean.high, 4)),
        )
        for kind, name, value, bounds in figures:
            arguments = None if bounds is None else {"confidence_interval_95": bounds}
            metric: dict[str, Any] = {"metric_type": kind, "metric_name": name, "metric_args": arguments}
            found.append(EvalResult(**place, **metric, metric_value=round(value, 4)))
    return list(eval_results_to_model_index("", found)[0]["results"])


def _is_ours(entry: Any) -> bool:
    arguments = (entry.get("dataset") or {}).get("args") if isinstance(entry, dict) else None
    return isinstance(arguments, dict) and str(arguments.get("harness", "")).startswith(HARNESS)


def _to_yaml(value: Any) -> str:
    import yaml

    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True))


def _place_of_index(front: str) -> tuple[int, int]:
    """From where to where the lines of ``model-index`` go in a card's front matter; its end where there is none."""
    import yaml

    def last(node: Any) -> int:
        """Where what a node says ends; the library's own mark of a block lies behind the comments that follow it."""
        children = node.value if isinstance(node, (yaml.MappingNode, yaml.SequenceNode)) and not node.flow_style else []
        parts = [part for child in children for part in (child if isinstance(child, tuple) else (child,))]
        return max(map(last, parts)) if parts else int(node.end_mark.index)

    root = yaml.compose(front, Loader=yaml.SafeLoader)
    for key, value in root.value if isinstance(root, yaml.MappingNode) else ():
        if key.value == "model-index":
            line_end = front.find("\n", max(last(key), last(value)))
            return int(key.start_mark.index), len(front) if line_end < 0 else line_end + 1
    return len(front), len(front)


def merge_card(card: str, name: str, results: Sequence[dict[str, Any]]) -> str:
    """A model card with these results in its ``model-index``; all else in it stays as it is, byte for byte.

    Args:
        card: its text, empty for a new one.
        name: the model's, where the card has no ``model-index`` yet.
        results: ours; those of an earlier export give way to them.

    Raises:
        CheckpointError: the card's front matter cannot be read, so that writing might lose something.
    """
    import yaml

    card = card.removeprefix("\ufeff")  # a byte order mark
    ending = "\r\n" if "\r\n" in card else "\n"
    match = FRONT.match(card)
    front = match.group(1) if match else ""
    try:
        data = yaml.safe_load(front) or {}
        there = data.get("model-index") or [{"name": name, "results": []}]
        first, *others = there
        theirs = [entry for entry in first.get("results") or [] if not _is_ours(entry)]
        index = [{**first, "results": [*theirs, *results]}, *others]
    except (yaml.YAMLError, AttributeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(
            f"the front matter of {CARD} cannot be read ({reason}); mend it, then export again"
        ) from error
    block = _to_yaml({"model-index": index}).replace("\n", ending)
    if front and not front.endswith("\n"):
        front += ending
    start, end = _place_of_index(front)
    front = front[:start] + block + front[end:]
    body = card[match.end() :] if match else (ending + card if card else f"{ending}# {name}{ending}")
    return f"---{ending}{front}---{ending}{body}"


def write_model_card(weights: Path, lines: Sequence[Line]) -> Path:
    """Put the figures into the ``model-index`` of a checkpoint's card; a card is made where there is none.

    Raises:
        CheckpointError: the card that is there cannot be read.
    """
    path = weights / CARD
    try:
        card = path.read_bytes().decode("utf-8") if path.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}); mend it, then export again") from error
    write_atomic(path, merge_card(card, lines[0].agent, model_index_results(lines)))
    return path


def task_id(meta: RunMeta) -> str:
    """The task's name within the benchmark: environment, split, and the rules where they are not the plain ones."""
    rules = "" if meta.rules == "strict" else f"-{meta.rules}"
    text = f"{meta.env_id.removeprefix('gtr/')}-{meta.split}{rules}".lower()
    return re.sub(r"[^a-z0-9]+", "_", text).strip("_")


def eval_result_files(lines: Sequence[Line], dataset: str) -> dict[str, str]:
    """The figures as ``.eval_results`` files, one each, by file name: success in percent.

    Args:
        lines: of one agent.
        dataset: the benchmark's data set on the Hub, such as ``org/name``.
    """
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    files: dict[str, str] = {}
    for line in lines:
        meta, rate = line.results[0].meta, line.success.rate
        seeds = ", ".join(map(str, line.seeds))
        notes = f"{_how(meta)}; {line.success.n} episodes, seeds {seeds}; gtr-bench {meta.version}"
        if bounds := _bounds(100 * rate.low, 100 * rate.high, 2):
            notes += f"; 95% interval {bounds[0]} to {bounds[1]}"
        entry = EvalResultEntry(
            dataset_id=dataset, task_id=task_id(meta), value=round(100 * rate.value, 2), date=meta.date, notes=notes
        )
        how = "" if meta.temperature is None else "_greedy" if meta.temperature == 0 else f"_t{meta.temperature:g}"
        name = f"gtr_bench_{task_id(meta)}{how}.yaml"
        files[name] = MARK + _to_yaml(eval_result_entries_to_yaml([entry]))
    return files


def write_eval_results(weights: Path, lines: Sequence[Line], dataset: str) -> list[Path]:
    """Write the figures as files in a checkpoint's ``.eval_results``.

    Raises:
        OutputExistsError: a file of that name was written by somebody else; none is written then.
    """
    files = {weights / EVAL_RESULTS / name: text for name, text in eval_result_files(lines, dataset).items()}
    for path in files:
        if path.exists() and not path.read_bytes().startswith(MARK.encode()):
            raise OutputExistsError(f"{path} was not written by gtr-bench export; move it away, then export again")
    for path, text in files.items():
        write_atomic(path, text)
    return list(files)
