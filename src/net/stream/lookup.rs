//! The addresses of a name, as this machine tells them.
//!
//! The C library knows all that nsswitch.conf names, by modules that it loads. A static program has no loader for them: it
//! would need the modules of the very glibc that it was built with, on each machine on which it runs. So a static program
//! reads the file of hosts and asks the DNS by itself.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use hickory_resolver::{
    Resolver,
    config::{LookupIpStrategy, ResolveHosts},
    net::runtime::TokioRuntimeProvider,
    system_conf::parse_resolv_conf,
};
use tokio::{net::lookup_host, runtime, task::spawn_blocking};

use crate::net::thread::door::answering;

/// Looks up the host of `host:port`.
///
/// # Errors
/// The name has no address, or nobody says.
pub(crate) async fn look_up(address: &str) -> io::Result<Vec<SocketAddr>> {
    if cfg!(target_feature = "crt-static") {
        without_libc(address).await
    } else {
        Ok(answering(lookup_host(address)).await?.collect())
    }
}

/// [`look_up`] without the C library. In a thread of its own, as getaddrinfo(3) has one: files block, and a worker's thread may
/// wait where the resolver's sockets cannot wake it.
async fn without_libc(address: &str) -> io::Result<Vec<SocketAddr>> {
    let wrong = || io::Error::new(io::ErrorKind::InvalidInput, "write host:port");
    let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
    let port = port.parse::<u16>().map_err(|_| wrong())?;
    let host = host.trim_matches(['[', ']']).to_owned();
    let asked = spawn_blocking(move || {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(ask(&host, port))
    });
    answering(asked).await?
}

/// Asks as the files of the system say. They are read each time, so that a change of them counts.
#[expect(clippy::disallowed_methods, reason = "no worker's thread comes here")]
async fn ask(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    // A file that cannot be read says nothing, as in libc.
    let read = |path| std::fs::read(path).unwrap_or_default();
    let with_port = |address| SocketAddr::new(address, port);
    let known = in_hosts(&String::from_utf8_lossy(&read("/etc/hosts")), host);
    if !known.is_empty() {
        return Ok(known.into_iter().map(with_port).collect());
    }
    // Without servers, libc asks this one.
    let parsed = parse_resolv_conf(read("/etc/resolv.conf")).or_else(|_| parse_resolv_conf("nameserver 127.0.0.1\n"));
    let (config, mut options) = parsed.map_err(io::Error::other)?;
    // A server that has moved is found at once.
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    let builder = Resolver::builder_with_config(config, TokioRuntimeProvider::default()).with_options(options);
    let found = builder.build().map_err(io::Error::other)?.lookup_ip(host).await.map_err(io::Error::other)?;
    Ok(found.iter().map(with_port).collect())
}

/// The addresses of a host in a file of the form of /etc/hosts. A host with an address there is not asked for elsewhere, not even
/// for one of the other family, as in libc.
fn in_hosts(file: &str, host: &str) -> Vec<IpAddr> {
    let host = host.strip_suffix('.').unwrap_or(host);
    let lines = file.lines().filter_map(|line| line.split('#').next());
    let addresses = lines.filter_map(|line| {
        let mut words = line.split_whitespace();
        let address = words.next()?.parse().ok()?;
        words.any(|name| name.eq_ignore_ascii_case(host)).then_some(address)
    });
    addresses.collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[tokio::test]
    async fn this_machine_is_found_with_the_c_library_and_without() {
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 80));
        assert!(look_up("localhost:80").await.unwrap().contains(&here));
        assert!(without_libc("localhost:80").await.unwrap().contains(&here));
    }

    #[test]
    fn a_host_in_the_file_of_hosts_has_the_addresses_that_stand_there() {
        let file = "127.0.0.1 localhost\n# 192.0.2.9 chat\n192.0.2.7\tchat.example  Chat # old: other\n::7 chat\nnonsense chat\n";
        let found = |host: &str| in_hosts(file, host).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(found("chat"), ["192.0.2.7", "::7"]);
        assert_eq!((found("CHAT.example."), found("other")), (vec!["192.0.2.7".to_owned()], vec![]));
        assert_eq!((found("192.0.2.7"), found("")), (vec![], vec![]));
    }

    #[tokio::test]
    async fn an_address_is_no_question() {
        assert_eq!(without_libc("192.0.2.7:8080").await.unwrap(), [([192, 0, 2, 7], 8080).into()]);
        assert_eq!(without_libc("[::1]:443").await.unwrap(), [SocketAddr::from((Ipv6Addr::LOCALHOST, 443))]);
    }

    #[tokio::test]
    async fn what_has_no_port_is_refused() {
        for wrong in ["localhost", "localhost:", "localhost:99999"] {
            assert_eq!(without_libc(wrong).await.unwrap_err().kind(), io::ErrorKind::InvalidInput, "{wrong}");
        }
    }
}
