//! `longwire import`: configurations of nginx and HAProxy in the shapes that people post, made anew.

mod command;
mod random;
mod rights;
mod shapes;

use std::path::{Path, PathBuf};

use fs_err as fs;
use longwire::{
    config,
    import::{Gravity, Imported},
    tools,
};

/// Files of which nothing can become a route, so that `check` cannot pass.
const WITHOUT_ROUTES: [&str; 1] = ["30-static-only.conf"];

/// The originals, by their paths from the root of the repository, as tests run there.
fn originals() -> Vec<PathBuf> {
    let entries = fs::read_dir("tests/import").unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.is_file()).collect();
    files.sort();
    assert_eq!(files.len(), 41);
    files
}

fn imported(path: &Path) -> Imported {
    tools::import::translate(path, None, None).unwrap_or_else(|error| panic!("{error}"))
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

#[test]
fn each_original_becomes_the_file_and_the_report_that_stand_beside_it() {
    let mut wrong = String::new();
    for path in originals() {
        let Imported { yaml, remarks } = imported(&path);
        let report = format!("{:#}\n", serde_json::json!(remarks));
        for (text, end) in [(yaml, "yaml"), (report, "json")] {
            let expected = Path::new("tests/import/expected").join(format!("{}.{end}", name(&path)));
            if std::env::var_os("DRAW").is_some() {
                fs::write(&expected, &text).unwrap();
            } else if fs::read_to_string(&expected).unwrap() != text {
                wrong += &format!("{} is another one today:\n{text}\n", expected.display());
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}\nif that is right: DRAW=1 cargo test --test it import::");
}

#[test]
fn what_is_made_of_each_original_passes_check() {
    for path in originals() {
        let Imported { yaml, .. } = imported(&path);
        let checked = config::parse(&yaml, name(&path), Path::new(""));
        if WITHOUT_ROUTES.contains(&name(&path)) {
            assert!(checked.is_err() && yaml.contains("longwire needs a route"), "{yaml}");
        } else if let Err(errors) = checked {
            panic!("{}: {errors}\n{yaml}", path.display());
        }
    }
}

#[test]
fn what_has_no_counterpart_is_named_with_its_file_and_line() {
    for (file, line, part) in [
        ("02-socketio.conf", 25, "longwire serves no files"),
        ("06-jupyter.conf", 14, "no regular expressions for paths"),
        ("08-mattermost.conf", 5, "longwire caches nothing"),
        ("13-novnc.conf", 7, "nobody is asked for a password here"),
        ("17-mqtt-over-ws.conf", 23, "stream"),
        ("20-lua-and-variables.conf", 9, "longwire runs no code"),
        ("22-many-hosts.conf", 30, "left out"),
        ("23-haproxy-acl.cfg", 20, "does not choose by the Upgrade header"),
        ("28-haproxy-misspelt.cfg", 19, "no mode tcp"),
        ("31-socketio-two-nodes.conf", 36, "here a dot is a dot"),
        ("31-socketio-two-nodes.conf", 56, "longwire knows no times"),
        ("32-home-assistant-tls.conf", 21, "http2: longwire speaks HTTP/1.1"),
        ("33-grafana-subpath.conf", 22, "nginx redirects /grafana to /grafana/"),
        ("36-mattermost-cache.conf", 17, "here the host of the request stays"),
        ("37-rocketchat-if.conf", 26, "longwire has no conditions"),
        ("38-ingress-rewrite.conf", 38, "here the letter case of the path matters"),
        ("40-haproxy-chains.cfg", 23, "so these requests go on"),
        ("41-haproxy-table.cfg", 31, "an upstream one manner"),
    ] {
        let path = Path::new("tests/import").join(file);
        let Imported { yaml, .. } = imported(&path);
        let place = format!("# {}:{line}: ", path.display());
        let note = yaml.lines().map(str::trim_start).find(|note| note.starts_with(&place) && note.contains(part));
        assert!(note.is_some(), "no {part:?} at {place:?} in\n{yaml}");
    }
}

#[test]
fn what_harms_websockets_is_told_where_it_is_or_where_it_is_missing() {
    for (file, line, directive, severity) in [
        ("01-nginx-location.conf", 11, "proxy_read_timeout", Gravity::Warning),
        ("02-socketio.conf", 22, "proxy_max_conn", Gravity::Error),
        ("02-socketio.conf", 21, "proxy_buffering", Gravity::Note),
        ("07-code-server.conf", 6, "proxy_http_version", Gravity::Error),
        ("10-phoenix.conf", 17, "proxy_set_header", Gravity::Error),
        ("13-novnc.conf", 13, "proxy_set_header", Gravity::Error),
        ("20-lua-and-variables.conf", 27, "proxy_http_version", Gravity::Error),
        ("23-haproxy-acl.cfg", 31, "timeout tunnel", Gravity::Warning),
        ("25-haproxy-sticky.cfg", 11, "option httpclose", Gravity::Note),
        ("28-haproxy-misspelt.cfg", 3, "timout", Gravity::Error),
        ("28-haproxy-misspelt.cfg", 6, "timeout client", Gravity::Warning),
        ("29-nginx-no-upgrade.conf", 7, "proxy_set_header", Gravity::Error),
        ("29-nginx-no-upgrade.conf", 11, "proxy_read_timeout", Gravity::Warning),
        ("29-nginx-no-upgrade.conf", 12, "prox_buffering", Gravity::Error),
    ] {
        let path = Path::new("tests/import").join(file);
        let Imported { remarks, .. } = imported(&path);
        let found = remarks.iter().any(|remark| {
            remark.file == path.to_str().unwrap()
                && (remark.line, remark.directive.as_str(), remark.severity) == (line, directive, severity)
        });
        assert!(found, "{file}:{line}: {directive} is not in {remarks:#?}");
    }
    for right in [
        "12-signalr.conf",
        "15-uptime-kuma.conf",
        "17-mqtt-over-ws.conf",
        "24-haproxy-tunnel.cfg",
        "26-haproxy-tls.cfg",
    ] {
        let Imported { remarks, .. } = imported(&Path::new("tests/import").join(right));
        let harm = remarks.iter().filter(|remark| remark.severity != Gravity::Note);
        assert_eq!(harm.count(), 0, "{right}: {remarks:#?}");
    }
}

#[test]
fn a_missing_timeout_tunnel_is_told_where_websockets_go() {
    let told = |file: &str| -> Vec<usize> {
        let remarks = imported(&Path::new("tests/import").join(file)).remarks;
        let tunnels = remarks.into_iter().filter(|remark| remark.directive == "timeout tunnel");
        tunnels.map(|remark| remark.line).collect()
    };
    // A rule by the Upgrade header leads to one of three backends.
    assert_eq!(told("23-haproxy-acl.cfg"), [31]);
    // Without such a rule, each that a frontend uses.
    assert_eq!(told("28-haproxy-misspelt.cfg"), [10, 13]);
}
