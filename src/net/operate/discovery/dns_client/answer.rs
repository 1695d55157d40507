//! What the answers of hickory say.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use hickory_resolver::{
    net::{NetError, NoRecords},
    proto::{
        op::ResponseCode,
        rr::{Name, RData, Record},
    },
};

use crate::discovery::{DnsAnswer, ServiceTarget};

/// An answer without records says that there are none, unless it only says which other servers would know, or fails by a
/// code of its own.
pub(super) fn empty<R>(none: &NoRecords) -> Result<DnsAnswer<R>, String> {
    match none.response_code {
        ResponseCode::NoError if none.soa.is_none() && none.ns.is_some() => {
            Err("the server only names other servers".into())
        }
        ResponseCode::NoError | ResponseCode::NXDomain => Ok(DnsAnswer::Empty),
        code => Err(code.to_string()),
    }
}

/// `read`: what a record says; `None` = it is of another type, such as a name that leads to another name.
pub(super) fn read_answer<R: Ord>(records: &[Record], read: fn(&RData) -> Option<R>) -> DnsAnswer<R> {
    let ttl = records.iter().map(|record| record.ttl).min().unwrap_or_default();
    let records: BTreeSet<R> = records.iter().filter_map(|record| read(&record.data)).collect();
    match records.is_empty() {
        true => DnsAnswer::Empty,
        false => DnsAnswer::Records { records, ttl: Duration::from_secs(ttl.into()) },
    }
}

/// Whether a server said nothing at all.
pub(super) const fn is_silence(error: &NetError) -> bool {
    matches!(error, NetError::Timeout | NetError::NoConnections | NetError::Io(_))
}

pub(super) fn address(data: &RData) -> Option<IpAddr> {
    match data {
        RData::A(address) => Some(address.0.into()),
        RData::AAAA(address) => Some(address.0.into()),
        _ => None,
    }
}

/// The name to which a name leads.
pub(super) fn alias(data: &RData) -> Option<Name> {
    let RData::CNAME(alias) = data else { return None };
    Some(alias.0.clone())
}

/// The target of a service. The root as a target says that there is no such service (RFC 2782).
pub(super) fn target(data: &RData) -> Option<ServiceTarget> {
    let RData::SRV(service) = data else { return None };
    let name = service.target.to_ascii();
    let name = name.trim_end_matches('.').to_lowercase();
    let (priority, weight, port) = (service.priority, service.weight, service.port);
    (!name.is_empty() && port > 0).then_some(ServiceTarget { priority, weight, port, name })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use hickory_resolver::proto::{
        op::Query,
        rr::{RecordType, rdata::SRV},
    };

    use super::*;

    #[test]
    fn only_an_answer_that_knows_the_name_says_that_it_is_gone() {
        let none = |code| NoRecords::new(Query::query(Name::root(), RecordType::A), code);
        let says = |none: NoRecords| empty::<IpAddr>(&none);
        assert_eq!(says(none(ResponseCode::NXDomain)), Ok(DnsAnswer::Empty));
        assert_eq!(says(none(ResponseCode::NoError)), Ok(DnsAnswer::Empty));
        assert!(says(none(ResponseCode::Unknown(77))).is_err());
        let mut referral = none(ResponseCode::NoError);
        referral.ns = Some([].into());
        assert!(says(referral).is_err());
    }

    #[test]
    fn a_target_is_called_as_it_is_asked_for() {
        for (name, expected) in [("Blue.Example.", "blue.example"), ("xn--bcher-kva.example.", "xn--bcher-kva.example")]
        {
            let record = RData::SRV(SRV::new(1, 2, 3, Name::from_ascii(name).unwrap()));
            let name = target(&record).unwrap().name;
            assert_eq!(name, expected);
            assert!(Name::from_ascii(name).is_ok());
        }
        assert_eq!(target(&RData::SRV(SRV::new(1, 2, 3, Name::root()))), None);
    }
}
