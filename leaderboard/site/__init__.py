"""The leaderboard as a folder of pages that opens from disk: a table, plots, a page an agent.

Nothing is loaded from elsewhere and nothing depends on a clock: the same results give the same bytes. A model's text is
untrusted: the templates escape everything, and the pages' content policy forbids what they do not need.
"""

from leaderboard.site.build import write_site as write_site
