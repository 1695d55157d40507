//! What `longwire --version` prints, and with `--verbose` what a report of a fault has to say of the program.

/// The version alone.
#[must_use]
pub const fn version() -> &'static str {
    concat!("longwire ", env!("CARGO_PKG_VERSION"))
}

/// The version and what the program was built from. `glibc` = the version of the C library that runs, if that is glibc.
#[must_use]
pub fn build(glibc: Option<&str>) -> String {
    let linkage = if IS_STATIC { "static" } else { "dynamic" };
    let (library, allocator) = match glibc {
        Some(version) => (format!("glibc {version}"), "malloc of glibc"),
        None if cfg!(target_env = "musl") => ("musl".to_owned(), "malloc of musl"),
        None => ("another C library".to_owned(), "malloc of the C library"),
    };
    let rows = [
        ("commit", env!("LONGWIRE_BUILD_COMMIT")),
        ("features", env!("LONGWIRE_BUILD_FEATURES")),
        ("profile", env!("LONGWIRE_BUILD_PROFILE")),
        ("target", env!("LONGWIRE_BUILD_TARGET")),
        ("linkage", &format!("{linkage}, {library}")),
        ("allocator", allocator),
        ("names", if IS_STATIC { "hickory, /etc/passwd, /etc/group" } else { "the C library (nsswitch.conf)" }),
        ("tls", env!("LONGWIRE_BUILD_TLS")),
        ("rustc", env!("LONGWIRE_BUILD_RUSTC")),
    ];
    let rows = rows.map(|(key, value)| format!("\n{key}: {value}"));
    version().to_owned() + &rows.concat()
}

/// Whether the C library is part of the program.
const IS_STATIC: bool = cfg!(target_feature = "crt-static");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_names_what_the_program_is_made_of() {
        let said = build(Some("2.36"));
        let mut lines = said.lines();
        assert_eq!(lines.next(), Some(version()));
        let keys: Vec<_> = lines.filter_map(|line| line.split_once(": ")).collect();
        let names: Vec<_> = keys.iter().map(|(key, _)| *key).collect();
        let all = ["commit", "features", "profile", "target", "linkage", "allocator", "names", "tls", "rustc"];
        assert_eq!(names, all, "{said}");
        assert!(keys.iter().all(|(_, value)| !value.is_empty()), "{said}");
        assert!(said.contains("\ntls: rustls 0.") && said.contains(" with ring 0."), "{said}");
        assert!(said.contains("\nrustc: rustc 1."), "{said}");
        assert!(said.contains(if IS_STATIC {
            "\nlinkage: static, glibc 2.36"
        } else {
            "\nlinkage: dynamic, glibc 2.36"
        }));
        assert_eq!(said.contains("otlp"), cfg!(feature = "otlp"), "{said}");
    }
}
