"""The report on a session: figures and one self-contained HTML page."""

from typing import TYPE_CHECKING

from icefloe._lazy import lazy_names

if TYPE_CHECKING:
    from icefloe.report.page import PANEL_LIMIT, build_report
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "PANEL_LIMIT": "page",
            "build_report": "page",
        },
    )

__all__ = ["PANEL_LIMIT", "build_report"]
