//! The presets: the data, and nothing else.
//!
//! `checked` is the day on which the source was read and said so. A figure that no page of its vendor says has `None`.

use std::time::Duration;

use super::{Activity, Introduction, Manner, Preset};

/// What a preset has unless its row says otherwise.
const PLAIN: Preset = Preset {
    name: "",
    title: "",
    note: "",
    idle: None,
    idle_range: None,
    counts: Activity::Nothing,
    dies: Manner::Fin,
    max_life: None,
    settable: false,
    life_settable: false,
    grace: None,
    introduces: None,
    source: "",
    checked: None,
};

/// The known parts of paths: those of clouds, then platforms, proxies, and what stands in networks.
pub static PRESETS: &[Preset] = &[
    Preset {
        name: "aws_alb",
        title: "AWS Application Load Balancer",
        note: "350 s is the limit of the Network Load Balancer. A Ping of HTTP/2 does not count.",
        idle: Some(seconds(60)),
        idle_range: Some((seconds(1), seconds(4_000))),
        counts: Activity::Bytes,
        settable: true,
        introduces: Some(Introduction::ByField),
        source: "https://docs.aws.amazon.com/elasticloadbalancing/latest/application/edit-load-balancer-attributes.html",
        checked: Some("2026-11-28"),
        ..PLAIN
    },
    Preset {
        name: "aws_clb",
        title: "AWS Classic Load Balancer",
        idle: Some(seconds(60)),
        idle_range: Some((seconds(1), seconds(3_600))),
        counts: Activity::Bytes,
        settable: true,
        introduces: Some(Introduction::ByEither),
        source: "https://docs.aws.amazon.com/elasticloadbalancing/latest/classic/config-idle-timeout.html",
        checked: Some("2026-11-28"),
        ..PLAIN
    },
    Preset {
        name: "aws_nlb",
        title: "AWS Network Load Balancer",
        note: "A listener that speaks TLS has 350 s always, and there a keepalive of TCP does not count. An end that only listens is never told.",
        idle: Some(seconds(350)),
        idle_range: Some((seconds(60), seconds(6_000))),
        counts: Activity::Packets,
        dies: Manner::Forgotten,
        settable: true,
        introduces: Some(Introduction::ByProxyHeader),
        source: "https://docs.aws.amazon.com/elasticloadbalancing/latest/network/update-idle-timeout.html",
        checked: Some("2026-11-28"),
        ..PLAIN
    },
    Preset {
        name: "aws_api_gateway",
        title: "AWS API Gateway (WebSocket API)",
        note: "Messages of at most 128 KB, frames of at most 32 KB.",
        idle: Some(seconds(600)),
        counts: Activity::Messages,
        dies: Manner::Close,
        max_life: Some(seconds(7_200)),
        introduces: Some(Introduction::ByField),
        source: "https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html",
        checked: Some("2026-11-28"),
        ..PLAIN
    },
    Preset {
        name: "aws_nat_gateway",
        title: "AWS NAT gateway",
        idle: Some(seconds(350)),
        counts: Activity::Packets,
        dies: Manner::Forgotten,
        source: "https://docs.aws.amazon.com/vpc/latest/userguide/nat-gateway-troubleshooting.html",
        checked: Some("2026-11-28"),
        ..PLAIN
    },
    Preset {
        name: "aws_ec2",
        title: "AWS EC2 (security groups that track connections)",
        note: "350 s on Nitro v6, 5 days on the instances before.",
        idle: Some(seconds(350)),
        idle_range: Some((seconds(60), seconds(432_000))),
        counts: Activity::Packets,
        dies: Manner::Silent,
        settable: true,
        source: "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ConnectionTrackingConfiguration.html",
        checked: Some("2026-11-28"),
        ..PLAIN
    },
    Preset {
        name: "aws_network_firewall",
        title: "AWS Network Firewall",
        note: "Where the policy says so it rejects the next packet by a RST.",
        idle: Some(seconds(350)),
        idle_range: Some((seconds(60), seconds(6_000))),
        counts: Activity::Packets,
        dies: Manner::Silent,
        settable: true,
        source: "https://docs.aws.amazon.com/network-firewall/latest/APIReference/API_FlowTimeouts.html",
        checked: Some("2026-11-28"),
        ..PLAIN
    },
    Preset {
        name: "gcp_alb",
        title: "Google Cloud external Application Load Balancer",
        note: "The timeout of the backend service is the whole life of a WebSocket, however busy it is: 30 s unless set, and a day at most.",
        max_life: Some(seconds(30)),
        settable: true,
        life_settable: true,
        introduces: Some(Introduction::ByField),
        source: "https://github.com/kubernetes/ingress-gce/tree/master/examples/websocket",
        checked: Some("2026-11-28"),
        ..PLAIN
    },
    Preset {
        name: "gcp_cloud_run",
        title: "Google Cloud Run",
        note: "The timeout of the request is the whole life: 5 minutes unless set, 60 minutes at most.",
        max_life: Some(seconds(300)),
        settable: true,
        life_settable: true,
        introduces: Some(Introduction::ByField),
        source: "https://cloud.google.com/run/docs/triggering/websockets",
        checked: Some("2026-11-28"),
        ..PLAIN
    },
    Preset {
        name: "gcp_cloud_nat",
        title: "Google Cloud NAT",
        idle: Some(seconds(1_200)),
        counts: Activity::Packets,
        dies: Manner::Silent,
        settable: true,
        source: "https://cloud.google.com/compute/docs/reference/rest/v1/routers (nats[].tcpEstablishedIdleTimeoutSec)",
        checked: Some("2026-11-28"),
        ..PLAIN
    },
    Preset {
        name: "gcp_vpc",
        title: "Google Cloud VPC (firewall that tracks connections)",
        idle: Some(seconds(600)),
        counts: Activity::Packets,
        dies: Manner::Silent,
        source: "Known from use; no page of Google was read that says it",
        ..PLAIN
    },
    Preset {
        name: "azure_lb",
        title: "Azure Load Balancer",
        note: "With TCP reset on for the rule, both ends are told by a RST.",
        idle: Some(seconds(240)),
        idle_range: Some((seconds(240), seconds(6_000))),
        counts: Activity::Packets,
        dies: Manner::Silent,
        settable: true,
        source: "https://learn.microsoft.com/azure/load-balancer/load-balancer-tcp-reset",
        checked: Some("2026-11-28"),
        ..PLAIN
    },
    Preset {
        name: "azure_nat_gateway",
        title: "Azure NAT Gateway",
        idle: Some(seconds(240)),
        idle_range: Some((seconds(240), seconds(7_200))),
        counts: Activity::Packets,
        dies: Manner::Forgotten,
        settable: true,
        source: "https://learn.microsoft.com/azure/nat-gateway/nat-gateway-resource",
        checked: Some("2026-11-28"),
        ..PLAIN
    },
    Preset {
        name: "azure_app_gateway",
        title: "Azure Application Gateway v2",
        note: "20 s is the request timeout of a new backend setting, 4 minutes the idle timeout of TCP: measure which of them holds.",
        idle: Some(seconds(20)),
        idle_range: Some((seconds(20), seconds(240))),
        counts: Activity::BytesFromBackend,
        dies: Manner::Reset,
        settable: true,
        introduces: Some(Introduction::ByField),
        source: "Reports: the pages of Microsoft contradict each other",
        ..PLAIN
    },
    Preset {
        name: "azure_front_door",
        title: "Azure Front Door",
        note: "At most 3,000 WebSockets of a profile at a time.",
        idle: Some(seconds(300)),
        counts: Activity::Bytes,
        max_life: Some(seconds(14_400)),
        introduces: Some(Introduction::ByField),
        source: "https://learn.microsoft.com/azure/frontdoor/standard-premium/websocket",
        checked: Some("2026-11-28"),
        ..PLAIN
    },
    Preset {
        name: "azure_app_service",
        title: "Azure App Service",
        idle: Some(seconds(230)),
        counts: Activity::Bytes,
        introduces: Some(Introduction::ByField),
        source: "https://learn.microsoft.com/azure/azure-functions/functions-scale (footnote of its timeouts)",
        checked: Some("2026-11-28"),
        ..PLAIN
    },
    Preset {
        name: "cloudflare",
        title: "Cloudflare (proxied)",
        note: "The read timeout toward the backend is 120 s on this page, and was 100 s: sessions were seen to end then, so the shorter one stands here. Its page of WebSockets names no time. Only an Enterprise plan can set it, and a release of Cloudflare ends sessions at any time.",
        idle: Some(seconds(100)),
        idle_range: Some((seconds(100), seconds(120))),
        counts: Activity::BytesFromBackend,
        settable: true,
        introduces: Some(Introduction::ByField),
        source: "https://developers.cloudflare.com/fundamentals/reference/connection-limits/",
        checked: Some("2026-11-28"),
        ..PLAIN
    },
    Preset {
        name: "cloudflare_gateway",
        title: "Cloudflare Gateway (TCP)",
        idle: Some(seconds(270)),
        counts: Activity::Packets,
        dies: Manner::Silent,
        source: "Report: https://github.com/cloudflare/cloudflare-docs/issues/3405",
        ..PLAIN
    },
    Preset {
        name: "heroku",
        title: "Heroku router",
        note: "Its log says H15 or H28. A dyno is restarted once a day.",
        idle: Some(seconds(55)),
        counts: Activity::Bytes,
        introduces: Some(Introduction::ByField),
        source: "https://help.heroku.com/BZGH6WMY/why-do-my-websocket-requests-have-high-service-times-in-the-router-logs",
        checked: Some("2026-11-28"),
        ..PLAIN
    },
    Preset {
        name: "fly",
        title: "Fly.io proxy",
        note: "Its page says 60 s, and its staff has said since that the limit is gone.",
        idle: Some(seconds(60)),
        counts: Activity::Bytes,
        introduces: Some(Introduction::ByEither),
        source: "https://fly.io/docs/reference/services/ (and against it https://community.fly.io/t/15160)",
        ..PLAIN
    },
    Preset {
        name: "vercel",
        title: "Vercel Functions",
        note: "The longest duration of the function is the whole life: 300 s unless set, 800 s at most on Pro.",
        max_life: Some(seconds(300)),
        settable: true,
        life_settable: true,
        introduces: Some(Introduction::ByField),
        source: "https://vercel.com/docs/functions/websockets",
        ..PLAIN
    },
    Preset {
        name: "render",
        title: "Render",
        note: "A deploy or maintenance ends sessions.",
        introduces: Some(Introduction::ByField),
        source: "No limit found: https://render.com/docs/websocket",
        ..PLAIN
    },
    Preset {
        name: "railway",
        title: "Railway",
        introduces: Some(Introduction::ByField),
        source: "No limit found: https://docs.railway.com/reference/public-networking",
        ..PLAIN
    },
    Preset {
        name: "digitalocean_lb",
        title: "DigitalOcean Load Balancer",
        note: "The page speaks of HTTP requests. For WebSockets, an hour was reported.",
        idle: Some(seconds(60)),
        idle_range: Some((seconds(30), seconds(600))),
        counts: Activity::Bytes,
        settable: true,
        introduces: Some(Introduction::ByEither),
        source: "https://docs.digitalocean.com/reference/api/digitalocean/ (http_idle_timeout_seconds)",
        checked: Some("2026-11-28"),
        ..PLAIN
    },
    Preset {
        name: "choreo",
        title: "WSO2 Choreo, Bijira (WebSocket API)",
        idle: Some(seconds(240)),
        counts: Activity::Frames,
        max_life: Some(seconds(900)),
        introduces: Some(Introduction::ByField),
        source: "https://wso2.com/bijira/docs/create-api-proxy/my-apis/websocket/quotas-and-limitations/",
        checked: Some("2026-11-28"),
        ..PLAIN
    },
    Preset {
        name: "blaxel",
        title: "Blaxel sandbox",
        idle: Some(seconds(900)),
        counts: Activity::Frames,
        introduces: Some(Introduction::ByField),
        source: "https://docs.blaxel.ai/knowledge-base/troubleshooting/websocket-connection-timeouts-and-15-minute-limit",
        checked: Some("2026-11-28"),
        ..PLAIN
    },
    Preset {
        name: "nginx",
        title: "nginx (proxy_read_timeout)",
        note: "Its page promises no more than this direction; nginx 1.22 was seen to count bytes of the client too.",
        idle: Some(seconds(60)),
        counts: Activity::BytesFromBackend,
        settable: true,
        introduces: Some(Introduction::ByField),
        source: "https://nginx.org/en/docs/http/websocket.html",
        checked: Some("2026-11-28"),
        ..PLAIN
    },
    Preset {
        name: "ingress_nginx",
        title: "ingress-nginx",
        note: "Each change of the configuration ends sessions after 240 s, the worker-shutdown-timeout.",
        idle: Some(seconds(60)),
        counts: Activity::BytesFromBackend,
        settable: true,
        introduces: Some(Introduction::ByField),
        source: "https://kubernetes.github.io/ingress-nginx/user-guide/nginx-configuration/configmap/ (proxy-read-timeout, worker-shutdown-timeout)",
        checked: Some("2026-11-28"),
        ..PLAIN
    },
    Preset {
        name: "haproxy",
        title: "HAProxy (timeout tunnel)",
        note: "Without timeout tunnel, timeout client and timeout server hold; without these there is no limit.",
        idle: Some(seconds(50)),
        counts: Activity::Bytes,
        settable: true,
        introduces: Some(Introduction::ByEither),
        source: "https://docs.haproxy.org/2.6/configuration.html (timeout tunnel; 50 s is what its examples set)",
        checked: Some("2026-11-28"),
        ..PLAIN
    },
    Preset {
        name: "envoy",
        title: "Envoy (stream_idle_timeout)",
        note: "Through its TCP proxy it is 1 hour. Cuts after 15 s were reported where the route has no timeout: 0s.",
        idle: Some(seconds(300)),
        counts: Activity::Bytes,
        settable: true,
        introduces: Some(Introduction::ByEither),
        source: "https://www.envoyproxy.io/docs/envoy/latest/faq/configuration/timeouts",
        checked: Some("2026-11-28"),
        ..PLAIN
    },
    Preset {
        name: "istio",
        title: "Istio (sidecar, TCP)",
        idle: Some(seconds(3_600)),
        counts: Activity::Bytes,
        dies: Manner::Reset,
        settable: true,
        introduces: Some(Introduction::ByField),
        source: "Reports: https://github.com/istio/istio/issues/38413, https://github.com/istio/istio/issues/40619",
        ..PLAIN
    },
    Preset {
        name: "pingora",
        title: "Pingora",
        note: "The timeouts of its peer hold, where the program sets them.",
        settable: true,
        introduces: Some(Introduction::ByField),
        source: "No limit of its own: https://github.com/cloudflare/pingora, issues 255 and 946",
        ..PLAIN
    },
    Preset {
        name: "traefik",
        title: "Traefik 3 (idleTimeout)",
        note: "Its page says 180 s for kept-alive connections and nothing of WebSockets.",
        idle: Some(seconds(180)),
        counts: Activity::Bytes,
        settable: true,
        introduces: Some(Introduction::ByEither),
        source: "Reports: https://github.com/traefik/traefik/issues/8668, https://github.com/traefik/traefik/issues/7590",
        ..PLAIN
    },
    Preset {
        name: "caddy",
        title: "Caddy (reverse_proxy)",
        note: "A reload ends sessions at once, unless stream_close_delay is set.",
        dies: Manner::Close,
        settable: true,
        introduces: Some(Introduction::ByEither),
        source: "https://caddyserver.com/docs/caddyfile/directives/reverse_proxy",
        checked: Some("2026-11-28"),
        ..PLAIN
    },
    Preset {
        name: "apache",
        title: "Apache httpd (mod_proxy)",
        idle: Some(seconds(60)),
        counts: Activity::Bytes,
        settable: true,
        introduces: Some(Introduction::ByField),
        source: "Known from use: Timeout and ProxyTimeout of https://httpd.apache.org/docs/2.4/mod/mod_proxy.html",
        ..PLAIN
    },
    Preset {
        name: "iis_arr",
        title: "IIS Application Request Routing",
        idle: Some(seconds(120)),
        counts: Activity::Bytes,
        settable: true,
        introduces: Some(Introduction::ByField),
        source: "Known from use; the page of its Time-out (dd443533) gives no figure",
        ..PLAIN
    },
    Preset {
        name: "f5",
        title: "F5 BIG-IP (TCP, FastL4)",
        idle: Some(seconds(300)),
        counts: Activity::Packets,
        dies: Manner::Reset,
        settable: true,
        source: "https://clouddocs.f5.com/products/extensions/f5-appsvcs-extension/latest/refguide/schemaref/L4_Profile.schema.json.html",
        checked: Some("2026-11-28"),
        ..PLAIN
    },
    Preset {
        name: "citrix_adc",
        title: "Citrix ADC, NetScaler",
        idle: Some(seconds(180)),
        idle_range: Some((seconds(180), seconds(360))),
        counts: Activity::Packets,
        dies: Manner::Reset,
        settable: true,
        source: "Known from use: 180 s toward clients, 360 s toward servers",
        ..PLAIN
    },
    Preset {
        name: "palo_alto",
        title: "Palo Alto firewall (PAN-OS)",
        note: "An application of its own may have a shorter one.",
        idle: Some(seconds(3_600)),
        counts: Activity::Packets,
        dies: Manner::Silent,
        settable: true,
        source: "https://docs.paloaltonetworks.com/ngfw/help/12-1/device/device-setup-session/session-timeouts",
        ..PLAIN
    },
    Preset {
        name: "cisco_asa",
        title: "Cisco ASA, Firepower",
        note: "With the word reset, both ends are told by a RST.",
        idle: Some(seconds(3_600)),
        idle_range: Some((seconds(300), seconds(4_294_800))),
        counts: Activity::Packets,
        dies: Manner::Silent,
        settable: true,
        source: "https://www.cisco.com/c/en/us/support/docs/security/secure-firewall-asa/222075-configure-connection-timeout-for-specifi.html",
        checked: Some("2026-11-28"),
        ..PLAIN
    },
    Preset {
        name: "pfsense",
        title: "pfSense, OPNsense (pf)",
        note: "The optimization aggressive has a shorter one.",
        idle: Some(seconds(86_400)),
        counts: Activity::Packets,
        dies: Manner::Silent,
        settable: true,
        source: "https://cgit.freebsd.org/src/tree/sys/netpfil/pf (PFTM_TCP_ESTABLISHED_VAL)",
        checked: Some("2026-11-28"),
        ..PLAIN
    },
    Preset {
        name: "linux_conntrack",
        title: "Linux firewall or NAT (conntrack)",
        note: "Docker, home routers and clouds set less.",
        idle: Some(seconds(432_000)),
        counts: Activity::Packets,
        dies: Manner::Silent,
        settable: true,
        source: "https://docs.kernel.org/networking/nf_conntrack-sysctl.html",
        checked: Some("2026-11-28"),
        ..PLAIN
    },
    Preset {
        name: "home_nat",
        title: "Home router (NAT)",
        idle: Some(seconds(300)),
        idle_range: Some((seconds(30), seconds(7_440))),
        counts: Activity::Packets,
        dies: Manner::Silent,
        source: "Reports; RFC 5382, REQ-5, asks for 2 h 4 min or more",
        ..PLAIN
    },
    Preset {
        name: "mobile_nat",
        title: "Mobile carrier (NAT)",
        idle: Some(seconds(30)),
        idle_range: Some((seconds(30), seconds(300))),
        counts: Activity::Packets,
        dies: Manner::Silent,
        source: "Reports of 30 s to some minutes; RFC 5382, REQ-5, asks for 2 h 4 min or more",
        ..PLAIN
    },
    Preset {
        name: "kubernetes",
        title: "Kubernetes",
        note: "It ends a process terminationGracePeriodSeconds after SIGTERM: 30 s unless set.",
        settable: true,
        grace: Some(seconds(30)),
        source: "https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination",
        checked: Some("2026-11-28"),
        ..PLAIN
    },
];

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::paths::preset;

    #[test]
    fn a_preset_is_found_by_its_name_which_is_its_own() {
        for row in PRESETS {
            assert!(std::ptr::eq(preset(row.name).unwrap(), row), "{}", row.name);
            assert!(row.name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'), "{}", row.name);
        }
        let titles: BTreeSet<_> = PRESETS.iter().map(|row| row.title).collect();
        assert_eq!(titles.len(), PRESETS.len());
        assert!(PRESETS.len() >= 44 && preset("").is_none() && preset("AWS_ALB").is_none());
    }

    #[test]
    fn each_preset_says_where_it_is_from_and_when_that_was_read() {
        for Preset { name, title, note, source, checked, .. } in PRESETS {
            assert!(!title.is_empty() && !source.is_empty(), "{name}");
            assert!(checked.is_none() || source.starts_with("https://"), "{name}: {source}");
            assert!(note.is_empty() || note.ends_with('.'), "{name}");
            if let Some(day) = checked {
                let numbers: Vec<_> = day.split('-').map(|number| number.parse::<u16>().unwrap()).collect();
                assert!(matches!(numbers[..], [2026..=2099, 1..=12, 1..=31]) && day.len() == 10, "{name}: {day}");
            }
        }
        let unsure = PRESETS.iter().filter(|row| row.checked.is_none()).count();
        assert!(unsure > 5 && unsure * 2 < PRESETS.len(), "{unsure} without a page of their vendor");
    }

    #[test]
    fn the_figures_of_a_preset_fit_each_other() {
        for row in PRESETS {
            assert_eq!(row.idle.is_none(), row.counts == Activity::Nothing, "{}", row.name);
            if let Some((low, high)) = row.idle_range {
                assert!(low < high && row.idle.is_some_and(|idle| (low..=high).contains(&idle)), "{}", row.name);
            }
            assert!(!row.life_settable || (row.settable && row.max_life.is_some()), "{}", row.name);
            let durations = [row.idle, row.max_life, row.grace].into_iter().flatten();
            assert!(
                durations.into_iter().all(|figure| figure.subsec_nanos() == 0 && !figure.is_zero()),
                "{}",
                row.name
            );
        }
    }

    #[test]
    fn the_figures_that_are_told_wrongly_everywhere_are_right_here() {
        let idle = |name| preset(name).unwrap().idle.map(|idle| idle.as_secs());
        assert_eq!((idle("aws_alb"), idle("aws_nlb"), idle("azure_app_service")), (Some(60), Some(350), Some(230)));
        let gcp = preset("gcp_alb").unwrap();
        assert_eq!((gcp.idle, gcp.max_life, gcp.life_settable), (None, Some(seconds(30)), true));
    }
}
