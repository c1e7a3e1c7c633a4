"""The report as a static folder: opens from the disk, with no server and no network."""

from harness.report.html.build import write_report

__all__ = ["write_report"]
