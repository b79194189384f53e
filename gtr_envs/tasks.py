"""What each environment asks of an agent in words: its prompt, its answer's keys and the actions that exist."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from gtr_envs.errors import UnknownEnvironmentError
from gtr_envs.protocol import Answer, read_answer


class Task(ABC):
    """The words of one environment.

    A task is made with the environment's options and reads those that change what is asked.

    Attributes:
        env_id: the Gymnasium id it belongs to.
        keys: the keys of an answer, in order; the last is the action.
        actions: the texts of all actions that exist, in the environment's order.
        free_actions: whether any text is an action, for the environment to judge, or only those of :meth:`allowed`.
        max_turns: turns after which an episode is truncated whatever the answers were. An invalid answer leaves the
            environment as it is, so the environment's own limit cannot end such an episode.
        options: the environment's options.
    """

    env_id: ClassVar[str]
    keys: ClassVar[tuple[str, ...]]
    free_actions: ClassVar[bool] = False
    actions: tuple[str, ...]
    max_turns: int

    def __init__(self, **options: Any) -> None:
        self.options = options

    @abstractmethod
    def prompt(self, info: Mapping[str, Any]) -> str:
        """The text that goes with the picture, for the state described by the environment's ``info``."""

    def allowed(self, info: Mapping[str, Any]) -> tuple[str, ...]:
        """The texts of all actions that exist in this state, legal or not."""
        return self.actions

    def read(self, text: str, info: Mapping[str, Any]) -> Answer:
        """An agent's answer in this state, read."""
        return read_answer(text, self.allowed(info), self.keys, self.free_actions)

    def legal(self, info: Mapping[str, Any]) -> tuple[str, ...]:
        """The texts of the actions that the environment does not call illegal in this state."""
        names, mask = self.allowed(info), info.get("action_mask")
        return names if mask is None else tuple(name for name in names if mask[self.env_action(name, info)])

    def env_action(self, action: str, info: Mapping[str, Any]) -> Any:
        """The environment's own form of an allowed action's text."""
        return self.actions.index(action)


class FormulaTask(Task):
    """A formula game in words. The fixed instruction comes first: a prompt cache or a small vocabulary can share it."""

    keys = ("cards", "formula", "thoughts", "action")
    formula_label: ClassVar[str] = "\nFormula so far: "
    empty_formula: ClassVar[str] = "none"
    instruction: str
    target: int

    def prompt(self, info: Mapping[str, Any]) -> str:
        return self.instruction + self.formula_label + (" ".join(info["formula"]) or self.empty_formula)

    def _instruct(self, title: str, number: str, highest: int, operators: str) -> None:
        """Set the actions and the instruction; ``number`` is that of the cards, in words."""
        self.actions = (*(str(value) for value in range(1, highest + 1)), *operators)
        faces = "10" if highest == 10 else "11, 12 and 13"
        self.instruction = (
            f"You are playing {title}. The picture shows {number} cards and, below them, the formula so far. "
            f"An A counts 1; J, Q and K count {faces}. Add one token a turn to the formula so that it uses each card "
            f"exactly once and equals {self.target}, then play '='. The tokens are {' '.join(self.actions)}. "
            f'Answer with one JSON object: {{"cards": [the {number} values], "formula": "the formula so far", '
            f'"thoughts": "how to reach {self.target} from here", "action": "the next token"}}.'
        )


class Points24Task(FormulaTask):
    """Points24 in words."""

    env_id = "gtr/Points24-v0"

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.target = options.get("target", 24)
        self.num_cards = options.get("num_cards", 4)
        self.face_cards = options.get("face_cards", "ten")
        number = {2: "two", 3: "three", 4: "four", 5: "five"}.get(self.num_cards, str(self.num_cards))
        self._instruct(f"the {self.target} game", number, 10 if self.face_cards == "ten" else 13, "+-*/()=")
        # gym_cards looks at the length of the formula before an action, so its last one comes a turn later.
        self.max_turns = 22 if options.get("rules") == "gym_cards" else 21


class EZPointsTask(FormulaTask):
    """EZPoints in words."""

    env_id = "gtr/EZPoints-v0"
    target = 12

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._instruct("the 12 game", "two", 10, "+*=")
        self.max_turns = 7 if options.get("rules") == "gym_cards" else 6


class NumberLineTask(Task):
    """NumberLine in words."""

    env_id = "gtr/NumberLine-v0"
    keys = ("target", "current", "thoughts", "action")
    actions = ("-", "+")
    instruction: ClassVar[str] = (
        "You move along a number line. The picture shows the target number and the current number. Bring the current "
        "number to the target: '+' adds 1 to it, '-' takes 1 away. Answer with one JSON object: "
        '{"target": the target number, "current": the current number, "thoughts": "which way to go and why", '
        '"action": "+ or -"}.'
    )

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.max_turns = 2 * options.get("max_position", 5)

    def prompt(self, info: Mapping[str, Any]) -> str:
        return self.instruction


class BlackjackTask(Task):
    """Blackjack in words."""

    env_id = "gtr/Blackjack-v0"
    keys = ("dealer", "player", "thoughts", "action")
    actions = ("stick", "hit")
    max_turns = 21  # 21 aces are the longest hand there is
    instruction: ClassVar[str] = (
        "You are playing blackjack. The picture shows the dealer's cards above, one of them face down, and yours "
        "below. An A counts 11, or 1 if 11 would take the hand above 21; J, Q and K count 10. 'hit' takes another "
        "card, and a hand above 21 loses; 'stick' ends your turn, then the dealer draws up to 17, and the higher hand "
        'wins. Answer with one JSON object: {"dealer": "the dealer\'s card that shows", "player": ["your cards"], '
        '"thoughts": "what your hand counts and what to do", "action": "stick or hit"}.'
    )

    def prompt(self, info: Mapping[str, Any]) -> str:
        return self.instruction


class ALFWorldTask(Task):
    """ALFWorld in words."""

    env_id = "gtr/ALFWorld-v0"
    keys = ("thoughts", "action")
    free_actions = True  # a command that is not admissible is the environment's affair, and stands in the history
    actions = ()  # those of a state are in its info
    instruction: ClassVar[str] = (
        "You do a household task in a room. The picture shows what you stand before, what lies there, what is in your "
        "hand, and a plan of the room. Closed things hide what is in them. Answer with one JSON object: "
        '{"thoughts": "what you see and what to do next", "action": "one of the admissible actions"}.'
    )
    labels: ClassVar[tuple[str, str, str, str]] = ("\nTask: ", ".\nYour last actions: ", ".\nAdmissible actions: ", ".")
    HISTORY: ClassVar[int] = 10

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.max_turns = 40 if options.get("cut_off") == "paper" else options.get("max_steps") or 50

    def prompt(self, info: Mapping[str, Any]) -> str:
        done = ", ".join(info["history"][-self.HISTORY :]) or "none"
        admissible = ", ".join(info["admissible_commands"])
        task, last, now, end = self.labels
        return f"{self.instruction}{task}{info['task']}{last}{done}{now}{admissible}{end}"

    def allowed(self, info: Mapping[str, Any]) -> tuple[str, ...]:
        return tuple(info["admissible_commands"])

    def legal(self, info: Mapping[str, Any]) -> tuple[str, ...]:
        return self.allowed(info)

    def env_action(self, action: str, info: Mapping[str, Any]) -> Any:
        if self.options.get("actions") != "index":
            return action
        commands = self.allowed(info)
        return commands.index(action) if action in commands else len(commands)  # an index of no command


class ALFWorldThorTask(ALFWorldTask):
    """ALFWorld on AI2-THOR in words."""

    env_id = "gtr/ALFWorldThor-v0"
    instruction = (
        "You do a household task in a room. The picture shows what you see. Closed things hide what is in them. Answer "
        'with one JSON object: {"thoughts": "what you see and what to do next", "action": "one of the admissible '
        'actions"}.'
    )


_KINDS: tuple[type[Task], ...] = (
    Points24Task,
    EZPointsTask,
    NumberLineTask,
    BlackjackTask,
    ALFWorldTask,
    ALFWorldThorTask,
)
TASKS: dict[str, type[Task]] = {kind.env_id: kind for kind in _KINDS}


def task_for(env_id: str, options: Mapping[str, Any] | None = None) -> Task:
    """The words of an environment.

    Args:
        env_id: its Gymnasium id.
        options: the options that it is made with.

    Raises:
        UnknownEnvironmentError: no task of this id speaks the protocol.
    """
    if env_id not in TASKS:
        known = ", ".join(TASKS)
        raise UnknownEnvironmentError(f"unknown environment {env_id!r}; those an agent can play: {known}")
    return TASKS[env_id](**(options or {}))
