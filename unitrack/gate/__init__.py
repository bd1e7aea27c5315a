"""Decide whether a candidate may replace the baseline, and keep the evidence."""
