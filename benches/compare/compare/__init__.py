"""Measures longwire beside its peers. `benches/compare/run` starts it."""
