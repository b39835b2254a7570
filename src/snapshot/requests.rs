//! For which SNI a client certificate is asked, naming which CAs (KONG.md §5.2).

use crate::plugin::mtls_auth::MtlsAuth;
use imbl::HashMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use uuid::Uuid;

/// A name, wildcard or `*` and the DER names of CAs to ask with from now on, in ascending order; `None`: asks no more.
/// Names are those of `routes.snis`: lower case, no trailing dot.
pub(super) type RequestChange = (Arc<str>, Option<Vec<Vec<u8>>>);

/// Who asks where, by count: one that goes leaves what others ask for.
#[derive(Clone, Default)]
pub(super) struct Asked {
    by_route: HashMap<Uuid, Ask>,
    /// The global plugin: whatever the SNI.
    everywhere: Option<Arc<MtlsAuth>>,
    by_name: HashMap<Arc<str>, Counts>,
    /// What was last told of each name.
    told: HashMap<Arc<str>, Arc<Vec<Vec<u8>>>>,
    /// Names to be told of again.
    touched: BTreeSet<Arc<str>>,
}

/// A route on which the plugin runs. Without snis every SNI may lead to it.
#[derive(Clone)]
pub(super) struct Ask {
    plugin: Arc<MtlsAuth>,
    names: Arc<[Arc<str>]>,
}

#[derive(Clone, Default)]
struct Counts {
    asking: usize,
    /// CAs in ascending id, with how many name them.
    cas: Vec<(Uuid, usize)>,
}

impl Ask {
    pub fn new<'s>(plugin: Arc<MtlsAuth>, snis: impl Iterator<Item = &'s str>) -> Ask {
        let names: BTreeSet<Arc<str>> = snis
            .map(|sni| crate::tls::sni::canonical(sni).into())
            .collect();
        Ask {
            plugin,
            names: match names.is_empty() {
                true => Arc::from([Arc::from("*")]),
                false => names.into_iter().collect(),
            },
        }
    }
}

impl Asked {
    pub fn everywhere(&mut self, plugin: Option<Arc<MtlsAuth>>) {
        let old = std::mem::replace(&mut self.everywhere, plugin.clone());
        let same = match (&old, &plugin) {
            (Some(old), Some(plugin)) => Arc::ptr_eq(old, plugin),
            (None, None) => true,
            _ => false,
        };
        if same {
            return;
        }
        let star: Arc<str> = "*".into();
        if let Some(plugin) = plugin {
            self.count(&star, &plugin, true);
        }
        if let Some(old) = old {
            self.count(&star, &old, false);
        }
    }

    pub fn route(&mut self, id: Uuid, ask: Option<Ask>) {
        let old = match &ask {
            Some(ask) => self.by_route.insert(id, ask.clone()),
            None => self.by_route.remove(&id),
        };
        if let (Some(old), Some(ask)) = (&old, &ask)
            && Arc::ptr_eq(&old.plugin, &ask.plugin)
            && old.names == ask.names
        {
            return;
        }
        // The new first: no count falls to nothing and rises again.
        for (ask, comes) in [(ask, true), (old, false)] {
            let Some(ask) = ask else { continue };
            for name in ask.names.iter() {
                self.count(name, &ask.plugin, comes);
            }
        }
    }

    /// The names for which something else is to be asked. `subject` gives the name of a CA; one without (missing, broken) is
    /// left out.
    pub fn settle(
        &mut self,
        mut subject: impl FnMut(Uuid) -> Option<Vec<u8>>,
    ) -> Vec<RequestChange> {
        let mut changes = Vec::new();
        for name in std::mem::take(&mut self.touched) {
            let Some(counts) = self.by_name.get(&name) else {
                if self.told.remove(&name).is_some() {
                    changes.push((name, None));
                }
                continue;
            };
            let subjects = counts.cas.iter().filter_map(|(ca, _)| subject(*ca));
            let distinct: BTreeSet<Vec<u8>> = subjects.collect();
            let subjects: Vec<_> = distinct.into_iter().collect();
            if self.told.get(&name).is_none_or(|told| **told != subjects) {
                self.told.insert(name.clone(), Arc::new(subjects.clone()));
                changes.push((name, Some(subjects)));
            }
        }
        changes
    }

    fn count(&mut self, name: &Arc<str>, plugin: &MtlsAuth, comes: bool) {
        self.touched.insert(name.clone());
        let counts = self.by_name.entry(name.clone()).or_default();
        let cas: &[Uuid] = match plugin.send_ca_dn {
            true => &plugin.ca_certificates,
            false => &[],
        };
        if comes {
            counts.asking += 1;
            for ca in cas {
                match counts.cas.binary_search_by_key(ca, |(ca, _)| *ca) {
                    Ok(place) => counts.cas[place].1 += 1,
                    Err(place) => counts.cas.insert(place, (*ca, 1)),
                }
            }
            return;
        }
        counts.asking -= 1;
        for ca in cas {
            if let Ok(place) = counts.cas.binary_search_by_key(ca, |(ca, _)| *ca) {
                counts.cas[place].1 -= 1;
                if counts.cas[place].1 == 0 {
                    counts.cas.remove(place);
                }
            }
        }
        if counts.asking == 0 {
            self.by_name.remove(name);
        }
    }
}
