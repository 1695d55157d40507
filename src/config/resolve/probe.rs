//! The far end of probes.

use std::path::Path;

use super::Resolver;
use crate::config::{ProbeSettings, file::ProbeSetting};

impl Resolver {
    pub(super) fn probe(&mut self, setting: ProbeSetting, base: &Path) -> ProbeSettings {
        let at = self.root.key("probe").key("path");
        let ProbeSetting { path, token_file } = setting;
        if !path.starts_with('/') {
            let help = "an exact path, such as /.well-known/longwire-probe";
            self.error(at, format!("path `{path}` does not start with `/`"), help);
        } else if let Some(never) = path.chars().find(|c| !c.is_ascii_graphic() || matches!(c, '?' | '#')) {
            let help = format!(
                "the raw path of a request holds no {never:?}: the query is not part of it, other bytes are %-encoded"
            );
            self.error(at, format!("path `{path}` can never match"), help);
        }
        ProbeSettings { path, token_file: base.join(token_file) }
    }
}
