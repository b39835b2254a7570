//! For which SNI a client certificate is asked, naming which CAs (KONG.md §5.2).

use crate::plugin::mtls_auth::MtlsAuth;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// Name, wildcard or `*` → DER names of CAs. Names are those of `routes.snis`: lower case, no trailing dot.
pub(super) type Requests = BTreeMap<String, Vec<Vec<u8>>>;

/// Collects who asks where.
#[derive(Default)]
pub(super) struct Asked(BTreeMap<String, BTreeSet<Uuid>>);

impl Asked {
    /// A global plugin: whatever the SNI.
    pub fn everywhere(&mut self, plugin: &MtlsAuth) {
        self.add("*", plugin);
    }

    /// A route on which `plugin` runs. Without snis every SNI may lead to it.
    pub fn route(&mut self, snis: &[String], plugin: &MtlsAuth) {
        if snis.is_empty() {
            self.add("*", plugin);
        }
        for sni in snis {
            self.add(sni, plugin);
        }
    }

    /// `subject` gives the name of a CA; one without (missing, broken) is left out.
    pub fn into_requests(self, mut subject: impl FnMut(Uuid) -> Option<Vec<u8>>) -> Requests {
        let names = |cas: BTreeSet<Uuid>| {
            let distinct: BTreeSet<Vec<u8>> = cas.into_iter().filter_map(&mut subject).collect();
            distinct.into_iter().collect()
        };
        let mut names = names;
        self.0
            .into_iter()
            .map(|(sni, cas)| (sni, names(cas)))
            .collect()
    }

    fn add(&mut self, sni: &str, plugin: &MtlsAuth) {
        let name = sni.strip_suffix('.').unwrap_or(sni).to_ascii_lowercase();
        let cas = self.0.entry(name).or_default();
        if plugin.send_ca_dn {
            cas.extend(&plugin.ca_certificates);
        }
    }
}
