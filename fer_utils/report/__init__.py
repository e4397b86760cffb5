"""The HTML report: what the study found, and the executed notebooks of one run, in one page."""

from fer_utils.report.build import write_reference, write_report
from fer_utils.report.opening import Study, figures, findings, source

__all__ = ["Study", "figures", "findings", "source", "write_reference", "write_report"]
