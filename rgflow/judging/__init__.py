"""How numbers become verdicts: points, intervals, decisions, readings and claims. Knows no room."""
