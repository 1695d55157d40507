//! What went wrong, whose fault it is, whether to try again: one table.
