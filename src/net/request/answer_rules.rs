//! The rules of a route for the fields of one answer.

use crate::{
    access_log::Record,
    headers::{BoundRules, ValueFacts},
    routing::Route,
};

/// What the route of a request does with the fields of the answer; `None` = nothing.
pub(super) fn answer_rules<'a>(route: Option<&'a Route>, record: &'a Record) -> Option<BoundRules<'a>> {
    let Route { name, answer_fields, .. } = route?;
    // The record cuts a host that is longer than any name can be.
    let host = Some(&*record.host).filter(|host| !host.ends_with('…'));
    answer_fields.bind(ValueFacts { client: record.client, request_id: &record.request_id, host, route: name })
}
