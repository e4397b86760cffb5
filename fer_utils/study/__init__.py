"""The study: plan, order and execution of its notebooks."""
