"""The report on a session: figures and one self-contained HTML page."""

from icefloe.report.page import PANEL_LIMIT, build_report

__all__ = ["PANEL_LIMIT", "build_report"]
