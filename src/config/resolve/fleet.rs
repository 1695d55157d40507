//! Limits that hold for several proxies together.

use std::{net::IpAddr, path::Path, time::Duration as StdDuration};

use super::{Resolver, upstreams::NOTHING};
use crate::config::{
    Authority, BackendTls, FleetServer, FleetSettings, Limits, OnLoss, UnixName,
    document::At,
    file::{self, FleetSetting},
    valkey_url::{ValkeyUrl, ValkeyUrls},
    values::Duration,
};

/// The most places of a server.
const MOST_SERVERS: usize = 16;
/// The longest name of a proxy, and the longest prefix of keys. Each stands in every question.
const LONGEST_NAME: usize = 64;
const SHORTEST_LEASE: StdDuration = StdDuration::from_secs(1);
const LONGEST_LEASE: StdDuration = StdDuration::from_secs(3600);
const SHORTEST_TIMEOUT: StdDuration = StdDuration::from_millis(1);
const LONGEST_TIMEOUT: StdDuration = StdDuration::from_secs(5);

impl Resolver {
    pub(super) fn fleet(&mut self, setting: FleetSetting, limits: &Limits, base: &Path) -> FleetSettings {
        let at = self.root.key("fleet");
        let FleetSetting { valkey, ca, cert, key, instance, prefix, lease, on_loss, timeout } = setting;
        let servers = self.fleet_servers(valkey, &at.key("valkey"));
        let speaks_tls = servers.iter().any(|server| server.is_tls);
        for (name, is_set) in
            [("ca", ca != file::Authorities::default()), ("cert", cert.is_some()), ("key", key.is_some())]
        {
            if is_set && !speaks_tls {
                self.warn(at.key(name), format!("`{name}` without a rediss:// URL"), NOTHING);
            }
        }
        if ca.0.is_empty() {
            let help = "write ca: system, or the file of a certificate authority";
            self.error(at.key("ca"), "`ca` names nobody", help);
        }
        let certificate = self.own_certificate(cert, key, &at, base);
        let authorities = ca.0.into_iter().map(|authority| Authority::written(authority, base)).collect();
        let tls = BackendTls {
            authorities,
            server_name: None,
            verify_name: None,
            sni: true,
            certificate,
            crl: None,
            insecure: false,
        };
        let instance = Some(instance).filter(|name| name != FleetSetting::AUTO);
        if let Some(name) = &instance {
            self.fleet_name(name, &at, "instance");
        }
        self.fleet_name(&prefix, &at, "prefix");
        self.fleet_times(lease, timeout, &at);
        self.idle_fleet(limits, on_loss, &at);
        FleetSettings { servers, tls, instance, prefix, lease: lease.0, on_loss, timeout: timeout.0 }
    }

    fn fleet_servers(&mut self, ValkeyUrls(urls): ValkeyUrls, at: &At) -> Vec<FleetServer> {
        if urls.is_empty() {
            self.error(at.clone(), "`valkey` names no server", "write rediss://USER:PASSWORD@HOST:PORT");
        }
        if urls.len() > MOST_SERVERS {
            self.error(at.clone(), format!("`valkey` has {} URLs", urls.len()), format!("at most {MOST_SERVERS}"));
        }
        for (index, ValkeyUrl(server)) in urls.iter().enumerate() {
            if server.password.is_some() && !server.is_tls && !is_of_this_machine(&server.address) {
                let at = if urls.len() == 1 { at.clone() } else { at.index(index) };
                let message = format!("the password passes in the clear to {}", server.address);
                self.warn(at, message, "write rediss:// instead of redis://");
            }
        }
        urls.into_iter().map(|ValkeyUrl(server)| server).collect()
    }

    /// A name that stands in keys. In patterns of access lists other signs would mean more than themselves.
    fn fleet_name(&mut self, name: &str, at: &At, key: &str) {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
        if name.is_empty() || name.len() > LONGEST_NAME || !name.bytes().all(is_plain) {
            let help = format!("letters, digits and - _ . : of ASCII, at most {LONGEST_NAME}");
            self.error(at.key(key), format!("`{key}` cannot be `{name}`"), help);
        }
    }

    fn fleet_times(&mut self, lease: Duration, timeout: Duration, at: &At) {
        let is_lease = (SHORTEST_LEASE..=LONGEST_LEASE).contains(&lease.0);
        let is_timeout = (SHORTEST_TIMEOUT..=LONGEST_TIMEOUT).contains(&timeout.0);
        if !is_lease {
            self.error(at.key("lease"), format!("`lease` cannot be {lease}"), "1s to 1h; 15s is the default");
        }
        if !is_timeout {
            self.error(at.key("timeout"), format!("`timeout` cannot be {timeout}"), "1ms to 5s; 50ms is the default");
        }
        if is_lease && is_timeout && lease.0 < timeout.0 * 3 {
            let message = format!("`timeout` ({timeout}) is longer than a third of `lease` ({lease})");
            self.error(
                at.key("timeout"),
                message,
                "a server that is only slow would let the counts of this proxy lapse",
            );
        }
    }

    fn idle_fleet(&mut self, limits: &Limits, on_loss: OnLoss, at: &At) {
        let Limits { sessions, sessions_per_client, new_sessions, new_sessions_per_client, .. } = limits;
        let counts = sessions.is_some() || sessions_per_client.is_some();
        if !counts && new_sessions.is_none() && new_sessions_per_client.is_none() {
            let help = "write sessions, sessions_per_client, new_sessions or new_sessions_per_client in `limits`, or remove this key";
            self.warn(at.clone(), "`fleet` without a limit that the proxies share", help);
        } else if on_loss == OnLoss::Deny && counts {
            let help = "no session begins while Valkey is away; `share` goes on with this proxy's part of the limits";
            self.warn(at.key("on_loss"), "`on_loss: deny` makes every new session depend on Valkey", help);
        }
    }
}

/// Whether nobody on a network reads what passes there.
fn is_of_this_machine(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let is_loopback = |ip: IpAddr| ip.to_canonical().is_loopback();
    UnixName::of(address).is_some()
        || host.eq_ignore_ascii_case("localhost")
        || host.trim_matches(['[', ']']).parse().is_ok_and(is_loopback)
}
