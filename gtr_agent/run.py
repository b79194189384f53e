"""All that a run holds while it trains: its parts, how they are taken up again, and what is written of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gtr_agent.alarm import AlarmLimits, CollapseAlarm, CollapseError
from gtr_agent.checkpoint import check_packaged_base, load_weights, read_adapter, save_checkpoint, state_folder
from gtr_agent.guidance import Guide, checkpoint_guide, merged_guide
from gtr_agent.imitation import Thoughts, chosen_turns, corrected_thoughts, teacher_thoughts
from gtr_agent.methods import METHODS
from gtr_agent.parallel import Workers, threads_for
from gtr_agent.ppo import Update
from gtr_agent.precision import explain_precision
from gtr_agent.progress import Clock, OnRecord, RunLog
from gtr_agent.ranks import Ranks, named_lost_processes
from gtr_agent.rollout import Collector, Rollout
from gtr_agent.run_folder import METRICS, checkpoint_folder, checkpoint_update, drop_old_checkpoints
from gtr_agent.run_state import (
    load_optimizer,
    optimizer_state,
    random_state,
    read_part,
    restore_random,
    seed_globals,
)
from gtr_agent.settings import Settings
from gtr_agent.sharding import shard
from gtr_agent.start import Loaded, begin, load, make_actor, make_optimizer
from gtr_agent.stopping import Interrupted, StopRequest
from gtr_agent.trackers import Trackers
from gtr_envs.errors import CheckpointError
from gtr_envs.storage import remove_folder

if TYPE_CHECKING:
    from gtr_agent.corrector import Corrector
    from gtr_agent.experience import Experience

SHOWN = {"success": ".1%", "return": "+.2f", "teacher_kl": ".4f", "steps_per_second": ".0f"}


class Run:
    """All that a run holds while it trains.

    Args:
        settings: the run's settings.
        out: its folder.
        resume: whether to go on with what is there.
        loaded: a model and its processor, in place of ``model.base``.
        ranks: the processes of the run; None for those that the launcher started.
        on_record: called after each update with its number and its metrics, on the main process.

    Raises:
        GtrError: as :func:`gtr_agent.train.train`; a new folder is gone again then.
    """

    def __init__(
        self,
        settings: Settings,
        out: Path,
        resume: bool = False,
        loaded: Loaded | None = None,
        ranks: Ranks | None = None,
        on_record: OnRecord | None = None,
    ) -> None:
        self.ranks = ranks or Ranks(settings.model.device)
        self.out = out
        self.on_record = on_record if self.ranks.is_main else None
        self.lock = ExitStack()
        resumed = self.ranks.once(lambda: begin(settings, out, resume, self.lock))
        self.done = checkpoint_update(resumed) if resumed is not None else 0
        try:
            self._set_up(settings, loaded)
            if resumed is not None:
                self.restore(resumed)
        except BaseException:
            with self.lock:
                if not resume and self.ranks.is_main:  # a run that cannot start leaves nothing behind
                    remove_folder(out)
            raise

    def _set_up(self, given: Settings, loaded: Loaded | None) -> None:
        """Load or make every part."""
        ranks = self.ranks
        seed_globals(given.seed, ranks.index)
        self.settings, (model, self.processor) = load(given, self.out, ranks, loaded)
        settings, device = self.settings, model.device.type
        self.terms = METHODS[settings.method]
        self.sharding = shard(model, ranks)  # before the adapter comes, which stays whole
        self.actor = make_actor(model, settings, self.sharding.active)
        self._set_up_teacher()
        self.optimizer = make_optimizer(self.actor, settings.ppo)
        self.rng = np.random.default_rng([settings.seed, 2, ranks.index])
        threads = ranks.threads(settings.threads)
        if ranks.count > 1 and device == "cpu":
            torch.set_num_threads(threads)  # else one worker's products would be split over all cores
        # Blocks are gathered by all processes in the same order, so one pass after the other.
        in_turn = self.sharding.active
        self.workers = Workers(1 if in_turn else threads_for(threads, settings.model.lora_dropout), device)
        self.collector = Collector(
            settings, self.actor, self.processor, self.workers, self.terms.imitates, ranks.index, ranks.count
        )
        self.alarm = CollapseAlarm(AlarmLimits(patience=settings.alarm.patience))
        self.turns = settings.rollout.num_envs * settings.rollout.turns * ranks.count
        self.pad = self.processor.tokenizer.pad_token_id
        self.update = Update(
            self.actor,
            self.optimizer,
            settings.ppo,
            self.pad,
            self.rng,
            self.workers,
            ranks,
            self.thoughts,
            self.out,
            in_step=self.sharding.active,
        )

    def _set_up_teacher(self) -> None:
        """The teacher that the method has: one whose KL guides, or a corrector; and the thoughts to imitate."""
        settings, kind = self.settings, self.terms.teacher
        self.guide: Guide | None = None
        self.corrector: Corrector | None = None
        if kind == "merged":
            self.guide = merged_guide(self.actor, settings)
        elif kind == "checkpoint":
            self.actor.cache_features = False  # the teacher looks at the picture with eyes of its own
            self.guide = checkpoint_guide(settings, self.processor)
        elif kind == "corrector":
            from gtr_agent.corrector import make_corrector

            self.corrector = make_corrector(
                settings.corrector,
                settings.env,
                self.out,
                settings.sft.thoughts,
                self.ranks.count,
                settings.model.device,
                self.actor.precision,
            )
        self.thoughts = Thoughts(settings.imitation) if self.terms.imitates else None

    def __enter__(self) -> Run:
        settings, is_main = self.settings, self.ranks.is_main
        with ExitStack() as closing:
            closing.push(self.lock)
            if self.corrector is not None:
                closing.callback(self.corrector.close)
            closing.callback(self.workers.close)
            closing.callback(self.collector.close)
            names = settings.trackers if is_main else ()
            self.trackers = Trackers(names, self.out, settings.model_dump(mode="json"), self.done)
            closing.callback(self.trackers.close)
            file = self.out / METRICS if is_main else None
            self.log = closing.enter_context(
                RunLog(settings.method, settings.ppo.updates, file, SHOWN, not is_main, self.on_record)
            )
            self.log.note(f"precision: {explain_precision(self.actor.precision, self.actor.causal.device.type)}")
            self.stop = closing.enter_context(StopRequest(speaks=is_main))
            self._closing = closing.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self._closing.__exit__(*error)

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Within it all of the model's weights are here, for passes without gradients."""
        with named_lost_processes(), self.sharding.whole():
            yield

    def learn(self, experience: Experience) -> dict[str, float]:
        """Update the agent; returns what to log."""
        with named_lost_processes():  # where the model is sharded, its own passes talk to the other processes
            return self.update(experience)

    def ask_teacher(self, rollout: Rollout) -> dict[str, float]:
        """Have the teacher think about a share of the turns and keep its thoughts; returns what to log."""
        if self.thoughts is None:
            return {}
        turns = chosen_turns(rollout.flat(), self.settings.imitation.share, self.rng)
        if self.corrector is not None:
            found, metrics = corrected_thoughts(self.corrector, self.processor, turns, self.rng)
        else:
            assert self.guide is not None
            found, metrics = teacher_thoughts(self.guide, self.processor, turns, self.settings, self.rng)
        self.thoughts.add(found)
        return {**metrics, "thoughts_kept": float(len(self.thoughts.thoughts))}

    def merge(self, number: int) -> dict[str, float]:
        """Merge the agent as it is now into the teacher, where there is one and it is time; returns what to log."""
        merged = self.guide.merged if self.guide is not None else None
        if merged is None or number % self.settings.merge.every:
            return {}
        report = merged.merge(number)
        return {"teacher_change": report.change, "teacher_distance": report.distance}

    def save(self, number: int, metrics: dict[str, float], clock: Clock) -> None:
        """Write the checkpoint of an update, with all that is needed to go on from it, and log the update.

        The line of the log comes when the checkpoint is on the disk and has not got its name yet: so it knows how long
        the writing took, and no checkpoint is without its line.
        """

        def record() -> None:
            clock.lap("save")
            found = {**metrics, **clock.report(self.turns)}
            self.log.record(number, found)
            self.trackers.log(found, number)

        parts = self.ranks.gather(
            {"environments": self.collector.state(), "random": random_state({"update": self.rng})}
        )
        thoughts = self.ranks.to_main(self.thoughts.state()) if self.thoughts is not None else None
        if self.ranks.is_main:
            state: dict[str, Any] = {
                "optimizer": optimizer_state(self.optimizer),
                "processes": parts,
                "alarm": self.alarm.state(),
            }
            if self.guide is not None and self.guide.merged is not None:
                state["teacher"] = self.guide.merged.state()
            if thoughts is not None:
                state["thoughts"] = thoughts
            folder = checkpoint_folder(self.out, number)
            save_checkpoint(folder, self.actor, self.settings, number, metrics, state, before_naming=record)
            drop_old_checkpoints(self.out, self.settings.keep_checkpoints, number)
        self.ranks.wait()

    def restore(self, checkpoint: Path) -> None:
        """Become what the run was when it wrote a checkpoint.

        Raises:
            CheckpointError: a part is damaged, or the run had another number of processes.
        """
        check_packaged_base(checkpoint, self.settings.model.base)
        place = state_folder(checkpoint)
        load_weights(self.actor, checkpoint)
        load_optimizer(self.optimizer, read_part(place, "optimizer"))
        self.alarm.load_state(read_part(place, "alarm"))
        processes = read_part(place, "processes")
        if len(processes) != self.ranks.count:
            raise CheckpointError(
                f"{checkpoint} was written by {len(processes)} processes and this run has {self.ranks.count}; "
                "start as many as there were"
            )
        own = processes[self.ranks.index]
        self.collector.load_state(own["environments"])
        if self.guide is not None and self.guide.merged is not None:
            self.guide.merged.load_state(read_part(place, "teacher"), partial(read_adapter, self.out))
        if self.thoughts is not None:
            self.thoughts.load_state(read_part(place, "thoughts")[self.ranks.index])
        restore_random(own["random"], {"update": self.rng})  # last: what comes before may draw

    def warn(self, number: int, warnings: Sequence[str]) -> None:
        """Speak up where the agent collapses.

        Raises:
            CollapseError: it did, and the settings say to stop then.
        """
        if not warnings or self.settings.alarm.action == "off":
            return
        for warning in warnings:
            self.log.say(f"collapse alarm: {warning}")
        if self.settings.alarm.action == "stop":
            raise CollapseError(
                f"update {number}: {' '.join(warnings)} To train on all the same: "
                f"gtr-bench train --resume {self.out} --set alarm.action=warn"
            )

    def stop_if_asked(self) -> None:
        """Between two updates: stop where any process of the run was asked to, all of them at once.

        Raises:
            Interrupted: one was.
        """
        heard = self.ranks.largest(self.stop.heard)
        if heard:
            raise Interrupted(heard)
