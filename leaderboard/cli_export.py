"""``gtr-bench export``: results beside a checkpoint, in the forms that the Hugging Face Hub reads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from leaderboard.cli_parts import require


def export_command(
    results: Annotated[list[Path], typer.Argument(help="Folders of results, searched through.")],
    checkpoint: Annotated[
        Path, typer.Option("--checkpoint", help="The checkpoint, model or run that was evaluated; written into.")
    ],
    model_card: Annotated[
        bool, typer.Option("--model-card", help="Put the results into the model-index of the checkpoint's README.md.")
    ] = False,
    eval_results: Annotated[
        bool, typer.Option("--eval-results", help="Write .eval_results/*.yaml; needs --dataset.")
    ] = False,
    dataset: Annotated[
        str | None,
        typer.Option(metavar="ORG/NAME", help="The benchmark's data set on the Hugging Face Hub, for --eval-results."),
    ] = None,
) -> None:
    """Write an evaluated checkpoint's results beside it, for the Hugging Face Hub. Nothing is uploaded."""
    from gtr_envs.errors import SettingError

    if not (model_card or eval_results):
        raise SettingError("nothing to export: ask for --model-card, --eval-results or both")
    if eval_results and (dataset is None or dataset.count("/") != 1 or not all(dataset.split("/"))):
        raise SettingError(
            f"--eval-results needs --dataset ORG/NAME, the data set on the Hub that is registered as the benchmark; "
            f"given: {dataset}"
        )
    require("scipy", "huggingface_hub", "yaml")
    from leaderboard.export import find_weights, own_lines, write_eval_results, write_model_card
    from leaderboard.summary import find_results

    weights = find_weights(checkpoint)
    lines = own_lines(find_results(results), weights)
    wrote = []
    if eval_results and dataset is not None:
        wrote += write_eval_results(weights, lines, dataset)
    if model_card:
        wrote.append(write_model_card(weights, lines))
    for path in wrote:
        print(f"wrote {path}")
