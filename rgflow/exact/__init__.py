"""Closed forms and enumerations that several rooms check against: float64, on the host."""
