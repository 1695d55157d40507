//! The admin interface.

use std::path::Path;

use super::Resolver;
use crate::config::{Admin, AdminBind, addresses, file};

impl Resolver {
    pub(super) fn admin(&mut self, admin: file::Admin, base: &Path) -> Admin {
        let at = self.root.key("admin");
        let file::Admin { bind, token_file, hosts } = admin;
        let bind = match bind {
            addresses::AdminAddress::Tcp(address) => AdminBind::Tcp(address),
            addresses::AdminAddress::Unix(path) => AdminBind::Unix(base.join(path)),
        };
        if let AdminBind::Tcp(address) = bind
            && !address.ip().to_canonical().is_loopback()
            && token_file.is_none()
        {
            let message =
                format!("`{address}` can be reached from other machines: the admin interface needs a token there");
            self.error(at.key("bind"), message, "name its file, token_file: admin.token, or bind 127.0.0.1");
        }
        for (index, host) in hosts.iter().enumerate() {
            let is_name = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
            if !is_name {
                let help = "a name without port, such as longwire.internal";
                self.error(at.key("hosts").index(index), format!("`{host}` is no host name"), help);
            }
        }
        let hosts = hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        Admin { bind, token_file: token_file.map(|file| base.join(file)), hosts }
    }
}
