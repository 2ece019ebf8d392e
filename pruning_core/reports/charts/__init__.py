"""Plotly charts, one file a chart."""
