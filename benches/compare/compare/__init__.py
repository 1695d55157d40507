"""Measures longwire beside its peers; `benches/compare/run` is the way in."""
