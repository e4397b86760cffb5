"""Runs: folders, records, tables over them, verdicts on claims."""
