"""Reading a finished or unfinished sweep: tables, figures and one self-contained page."""
