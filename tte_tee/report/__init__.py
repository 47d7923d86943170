"""Metrics JSON in, tables and figures out."""
