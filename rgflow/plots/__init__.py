"""Figures as data: a figure is declared, and drawing, legend, table and words follow. Knows no room."""
