//! What sessions are told, and what they are asked: to leave, to show frames, to report.

pub(super) mod age_errand;
pub(super) mod ages;
pub(super) mod book;
pub(super) mod departures;
pub(super) mod inquiry;
pub mod observed;
pub(super) mod tally;
