//! Directives that have no counterpart in longwire, and why.

use super::blocks::{Directive, FREE};

/// Directives that are translated elsewhere, or for which there is nothing to write.
const WRITTEN: &str = "
    absolute_redirect accept_mutex access_log add_header aio allow auth_request auth_request_set backlog
    chunked_transfer_encoding client_body_buffer_size client_body_temp_path client_body_timeout client_header_buffer_size
    client_header_timeout client_max_body_size connection_pool_size daemon debug_connection default_type deny directio
    error_log etag events fastcgi_temp_path geo hash http http2 http2_max_concurrent_streams if ignore_invalid_headers
    include index internal ip_hash keepalive keepalive_disable keepalive_requests keepalive_time keepalive_timeout
    large_client_header_buffers least_conn limit_conn limit_conn_status limit_conn_zone limit_req limit_req_status
    limit_req_zone lingering_close lingering_time lingering_timeout listen load_module location log_format log_not_found
    map map_hash_bucket_size map_hash_max_size master_process merge_slashes msie_padding multi_accept
    open_file_cache pcre_jit pid port_in_redirect postpone_output proxy_buffer_size proxy_buffering proxy_buffers
    proxy_busy_buffers_size proxy_connect_timeout proxy_headers_hash_bucket_size proxy_headers_hash_max_size
    proxy_hide_header proxy_http_version proxy_max_temp_file_size proxy_next_upstream proxy_next_upstream_timeout
    proxy_next_upstream_tries proxy_pass proxy_pass_header proxy_pass_request_body proxy_pass_request_headers
    proxy_read_timeout proxy_request_buffering proxy_send_timeout proxy_set_header proxy_socket_keepalive
    proxy_ssl_certificate proxy_ssl_certificate_key proxy_ssl_ciphers proxy_ssl_crl proxy_ssl_name proxy_ssl_protocols
    proxy_ssl_server_name proxy_ssl_session_reuse proxy_ssl_trusted_certificate proxy_ssl_verify proxy_ssl_verify_depth
    proxy_temp_path random real_ip_header real_ip_recursive reset_timedout_connection resolver resolver_timeout return
    rewrite root satisfy scgi_temp_path send_timeout sendfile server server_name server_names_hash_bucket_size
    server_names_hash_max_size server_tokens set set_real_ip_from ssl ssl_buffer_size ssl_certificate
    ssl_certificate_key ssl_ciphers ssl_client_certificate ssl_conf_command ssl_crl ssl_dhparam ssl_ecdh_curve
    ssl_prefer_server_ciphers ssl_session_cache ssl_session_ticket_key ssl_session_tickets ssl_session_timeout
    ssl_stapling ssl_stapling_verify ssl_trusted_certificate ssl_verify_client ssl_verify_depth sticky tcp_nodelay
    tcp_nopush try_files types types_hash_bucket_size types_hash_max_size underscores_in_headers upstream
    user uwsgi_temp_path variables_hash_bucket_size variables_hash_max_size worker_connections
    worker_cpu_affinity worker_priority worker_processes worker_rlimit_core worker_rlimit_nofile
    worker_shutdown_timeout working_directory zone ssl_protocols alias open_file_cache_valid
    open_file_cache_min_uses open_file_cache_errors";

/// What longwire has not, by the beginnings of names. The first that fits counts.
const LACKING: [(&str, &str); 27] = [
    ("auth_basic", "nobody is asked for a password here: put that into the application, or into auth_request"),
    ("auth_jwt", "no token is verified here: write auth_request"),
    ("brotli", "longwire compresses nothing"),
    ("charset", "the Content-Type of an answer passes as the backend writes it"),
    ("error_page", "longwire passes the answers of backends on, and has no pages of its own"),
    ("expires", "longwire knows no times: response_headers can set Cache-Control"),
    ("fastcgi_", "longwire speaks HTTP/1.1 to backends alone"),
    ("grpc_", "longwire speaks no gRPC to backends"),
    ("gunzip", "longwire compresses nothing"),
    ("gzip", "longwire compresses nothing: what the backend compresses passes through"),
    ("http2_push", "longwire speaks HTTP/1.1"),
    ("http3", "longwire speaks HTTP/1.1"),
    ("limit_except", "longwire does not look at methods"),
    ("limit_rate", "limits.bytes_per_second bounds what clients send; nothing bounds what they get"),
    ("mail", "longwire proxies HTTP alone"),
    ("mirror", "longwire sends a request to one backend"),
    ("perl", "longwire runs no code"),
    ("proxy_cache", "longwire caches nothing"),
    ("proxy_cookie_", "cookies pass as the backend sets them"),
    ("proxy_intercept_errors", "longwire passes the answers of backends on"),
    ("proxy_no_cache", "longwire caches nothing"),
    ("proxy_redirect", "the Location of an answer passes as the backend writes it"),
    ("scgi_", "longwire speaks HTTP/1.1 to backends alone"),
    ("stream", "longwire proxies HTTP alone: keep this block in nginx"),
    ("sub_filter", "longwire changes no bodies"),
    ("uwsgi_", "longwire speaks HTTP/1.1 to backends alone"),
    ("js_", "longwire runs no code"),
];

/// Comments about the directives of one level.
pub(super) fn notes(level: &[Directive]) -> Vec<String> {
    level.iter().filter_map(note).collect()
}

fn note(directive: &Directive) -> Option<String> {
    let name = directive.name.as_str();
    if name == "if" {
        return condition(directive);
    }
    if WRITTEN.split_whitespace().any(|written| written == name) || FREE.contains(&name) {
        return None;
    }
    let is_off = directive.arg(0) == "off" && directive.args.len() == 1;
    if is_off || name == "proxy_redirect" && directive.arg(0) == "default" {
        return None;
    }
    let why = LACKING.iter().find(|(begin, _)| name.starts_with(begin)).map(|(_, why)| *why);
    let why = why.or_else(|| name.contains("_by_lua").then_some("longwire runs no code"));
    Some(directive.at.note(format_args!("{name}: {}", why.unwrap_or("longwire has no such thing"))))
}

/// A comment about an `if` that is not translated.
fn condition(directive: &Directive) -> Option<String> {
    let text = directive.text();
    let ends = |code: &str| directive.inner().iter().any(|inner| inner.name == "return" && inner.arg(0) == code);
    let why = match () {
        () if text.contains("$ssl_client_verify") && ends("403") => return None,
        () if is_redirect(directive) => return None,
        () if text.contains("$scheme") || text.contains("$host") => {
            "longwire redirects to the same host by https alone"
        }
        () if text.contains("$http_origin") => "write origins: and the pages that may connect",
        () if text.contains("$http_upgrade") => "longwire chooses by host and path, not by the Upgrade header",
        () => "longwire has no conditions",
    };
    Some(directive.at.note(format_args!("if {text}: {why}")))
}

/// Whether an `if` redirects to https, which is translated.
fn is_redirect(directive: &Directive) -> bool {
    let text = directive.text();
    let is_of_scheme = text.contains("$scheme") || text.contains("$https");
    let same = ["https://$host", "https://$http_host", "https://$server_name"];
    let leads_on =
        |inner: &Directive| inner.args.iter().any(|word| same.iter().any(|same| word.text.starts_with(same)));
    (is_of_scheme || text.contains("$host") && !text.contains('!')) && directive.inner().iter().any(leads_on)
}
