"""The suites of ``python -m launch.bench``: what rgflow does, what a user would write instead, and the clock."""
