"""The report: one offline HTML file about a run, with pictures whose thresholds can be moved in the page."""

from semples.inspect.report.build import build_report

__all__ = ["build_report"]
