"""The pages' templates, and the policy that lets a page run its own script and nothing else."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment

SCRIPT, STYLE = "site.js", "site.css"


class Pages:
    """The templates, with what all pages have in common."""

    def __init__(self) -> None:
        from jinja2 import Environment, PackageLoader, StrictUndefined

        self.environment: Environment = Environment(
            loader=PackageLoader("leaderboard.site"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        self.script = self._source(SCRIPT)
        digest = base64.b64encode(hashlib.sha256(self.script.encode()).digest()).decode()
        self.common = {"script": self.script, "script_digest": f"sha256-{digest}", "style": self._source(STYLE)}

    def _source(self, name: str) -> str:
        loader = self.environment.loader
        assert loader is not None
        return loader.get_source(self.environment, name)[0]

    def render(self, template: str, **values: Any) -> bytes:
        """A page's bytes. Lone surrogates, which a model may write, become question marks."""
        page = self.environment.get_template(template).render(**self.common, **values)
        return page.encode("utf-8", errors="replace")
