"""Plots by subject, as plotly figures; they know no domain object."""
