"""STAR files in the dialect that RELION reads and writes.

A STAR file is a set of named blocks.  A block is a table (`loop_`) or a list of single values.
Numbers become int64 or float64 columns, everything else stays text.  What is text in RELION's
own dictionary (names, files) stays text even where it looks like a number.

The starfile package needs 4 times as long to write a large particle table
(`benchmarks/formats.py`), and pandas.
"""

from __future__ import annotations

from icefloe.formats._star_reader import read_star
from icefloe.formats._star_table import StarTable, require_block
from icefloe.formats._star_writer import write_star

__all__ = ["StarTable", "read_star", "require_block", "write_star"]
