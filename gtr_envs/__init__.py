"""Visual environments for agents that see pictures and act by text; importing this package registers them.

The entry points are strings: nothing heavy is imported until `gymnasium.make` builds an environment.
"""

from __future__ import annotations

from gymnasium.envs.registration import register, registry

__version__ = "0.1.0"

_CARDS = {"Points24": "points24", "EZPoints": "ez_points", "NumberLine": "number_line", "Blackjack": "blackjack"}

for _name, _module in _CARDS.items():
    if f"gtr/{_name}-v0" not in registry:
        register(
            id=f"gtr/{_name}-v0",
            entry_point=f"gtr_envs.cards.{_module}:{_name}Env",
            vector_entry_point=f"gtr_envs.cards.vector:{_name}VectorEnv",
        )

if "gtr/ALFWorld-v0" not in registry:
    register(id="gtr/ALFWorld-v0", entry_point="gtr_envs.alfworld.env:ALFWorldEnv")

if "gtr/ALFWorldThor-v0" not in registry:
    register(id="gtr/ALFWorldThor-v0", entry_point="gtr_envs.alfworld.thor:ALFWorldThorEnv")
