"""Closed forms and enumerations that results of several rooms are checked against: float64, on the host."""
