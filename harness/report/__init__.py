"""Tables that people read, made from stored cells."""

from harness.report.rows import Table
from harness.report.table import build_table
from harness.report.write import terminal_text, write_pages

__all__ = ["Table", "build_table", "terminal_text", "write_pages"]
