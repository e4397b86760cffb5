"""The HTML report: the outputs of a study's executed notebooks in one self-contained page."""

from fer_utils.report.build import facts, write_report

__all__ = ["facts", "write_report"]
