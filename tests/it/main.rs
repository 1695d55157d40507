//! The tests of the whole: a file per behaviour.

mod config;
