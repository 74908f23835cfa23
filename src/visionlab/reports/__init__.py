"""Figures and self-contained HTML reports of runs and of data, made from what commands left in a folder."""

from visionlab.reports.comparison import compare
from visionlab.reports.html import write_data_report, write_report
from visionlab.reports.throughput import write_throughput_report

__all__ = ["compare", "write_data_report", "write_report", "write_throughput_report"]
