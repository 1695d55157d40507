//! The services that routes ask about their requests.

use hyper::header::HeaderName;

use super::{
    Resolver,
    field_rules::MOST_FIELDS,
    routes::Surroundings,
    upstreams::{NOTHING, literal, reaches},
};
use crate::{
    config::{
        Authority, BackendTls, WaySettings,
        document::At,
        file::{AuthRequestSetting, ServiceTls},
        server_name,
        service_url::ServiceUrl,
    },
    headers,
    routing::AuthRequest,
};

impl Resolver {
    /// What a route asks a service. How connections with the service come about is noted in the resolver.
    pub(super) fn auth_request(
        &mut self,
        setting: AuthRequestSetting,
        surroundings: &Surroundings<'_>,
        at: &At,
    ) -> AuthRequest {
        let AuthRequestSetting { url: ServiceUrl { url, is_https, address }, timeout, pass, tls } = setting;
        let here = literal(&address);
        if let Some(listener) = surroundings
            .listeners
            .iter()
            .find(|one| here.zip(one.bind.tcp()).is_some_and(|(to, bind)| reaches(to, bind)))
        {
            let message = format!("`{url}` is longwire itself, which listens on {}", listener.bind);
            self.error(at.key("url"), message, "name the service itself: the question would be asked about again");
        }
        if tls.is_some() && !is_https {
            self.warn(at.key("tls"), "`tls` beside an http:// URL", NOTHING);
        }
        if pass.len() > MOST_FIELDS {
            let message = format!("`pass` has {} fields", pass.len());
            self.error(at.key("pass"), message, format!("at most {MOST_FIELDS}"));
        }
        let tls = is_https.then(|| self.service_tls(tls.unwrap_or_default(), &address, surroundings, at));
        self.service_ways.push(WaySettings { tls });
        AuthRequest {
            url,
            address,
            service: self.service_ways.len() - 1,
            timeout: self.positive(at.key("timeout"), timeout),
            pass: self.passed_fields(&pass, &at.key("pass")),
        }
    }

    fn passed_fields(&mut self, names: &[String], at: &At) -> Vec<HeaderName> {
        let mut fields = Vec::with_capacity(names.len());
        for (index, name) in names.iter().enumerate() {
            match self.field_name(name, at.index(index)) {
                Some(field) if headers::may_be_granted(&field) => fields.push(field),
                Some(_) => {
                    let help = "leave it out: longwire itself says this to the backend";
                    self.error(at.index(index), format!("no service may name `{name}`"), help);
                }
                None => {}
            }
        }
        fields
    }

    fn service_tls(&mut self, tls: ServiceTls, address: &str, surroundings: &Surroundings<'_>, at: &At) -> BackendTls {
        let ServiceTls { ca, server_name } = tls;
        let tls_at = at.key("tls");
        if ca.0.is_empty() {
            let help = "write ca: system, or the file of a certificate authority";
            self.error(tls_at.key("ca"), "`ca` names nobody", help);
        }
        if server_name.is_none() && server_name::of_backend(address).is_none() {
            let help = "name the host in its certificate: tls: { server_name: auth.example.com }";
            self.error(at.key("url"), format!("no certificate has the name of `{address}`"), help);
        }
        if address.ends_with(":80") {
            let help = "name the port where it speaks TLS, mostly 443";
            self.warn(at.key("url"), format!("https to port 80 of `{address}`, where servers speak plain HTTP"), help);
        }
        BackendTls {
            authorities: ca.0.into_iter().map(|authority| Authority::written(authority, surroundings.base)).collect(),
            server_name: server_name.map(|name| name.0),
            verify_name: None,
            sni: true,
            certificate: None,
            crl: None,
            insecure: false,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use crate::config::{self, Authority};

    #[test]
    fn https_is_verified_by_the_system_unless_the_file_names_others() {
        let parse = |keys: &str| {
            let text = format!(
                "listeners: [ {{ bind: \"127.0.0.1:0\" }} ]\nupstreams: {{ a: {{ backends: [ {{ address: \"b:1\" }} ] }} }}\n\
                 routes: [ {{ upstream: a, path: /z }}, {{ upstream: a, auth_request: {{ {keys} }} }} ]\n"
            );
            config::parse(&text, "proxy.yaml", Path::new("/etc")).unwrap()
        };
        let loaded = parse("url: \"https://auth.example.com/\"");
        assert_eq!(loaded.warnings.to_string(), "");
        let tls = loaded.config.service_ways[0].tls.clone().unwrap();
        assert_eq!((tls.authorities, tls.insecure, tls.sni), (vec![Authority::System], false, true));
        let loaded = parse("url: \"https://auth:80/\", tls: { ca: ca.pem, server_name: auth.internal }");
        assert!(loaded.warnings.to_string().contains("https to port 80 of `auth:80`"), "{}", loaded.warnings);
        let tls = loaded.config.service_ways[0].tls.clone().unwrap();
        assert_eq!(tls.authorities, [Authority::File("/etc/ca.pem".into())]);
        assert_eq!(tls.server_name.unwrap().to_str(), "auth.internal");
        assert_eq!(parse("url: \"http://auth/\"").config.service_ways[0].tls, None);
    }
}
