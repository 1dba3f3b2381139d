"""rgflow: deep learning as renormalization group flow, implemented, checked against exact references and judged.

Start with ``python -m launch.sweep --config=configs/rank_flow.py`` or read :mod:`rgflow.protocol`.
"""

__version__ = "0.1.0"
