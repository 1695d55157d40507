//! Any text is a configuration, or is refused with a message. It never causes a panic.

use std::path::Path;

use longwire::config;

/// `bytes` are a file. Only `environment` gives variables, and no file is opened.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let environment = |name: &str| (name.len() == 1).then(|| format!("{name}: [{name}"));
    match config::parse_with(text, "proxy.yaml", Path::new("/nowhere"), &environment) {
        Ok(loaded) => assert!(!config::describe(&loaded.config).is_empty()),
        Err(errors) => assert!(!errors.to_string().is_empty()),
    }
}
