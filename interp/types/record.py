"""How records are read from plain values."""

RECORD = {"extra": "forbid", "arbitrary_types_allowed": True}
"""How pydantic reads a record of this module from plain values: no field more, arrays as their annotation says."""
