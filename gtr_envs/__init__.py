"""Visual environments for agents that see pictures and act by text; importing this package registers them.

The entry points are strings: nothing heavy is imported until `gymnasium.make` builds an environment.
"""

from __future__ import annotations

from gymnasium.envs.registration import register, registry

__version__ = "0.1.0"

if "gtr/Points24-v0" not in registry:
    register(id="gtr/Points24-v0", entry_point="gtr_envs.cards.points24:Points24Env")
