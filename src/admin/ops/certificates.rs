//! `snis` of a certificate: a field of the request, rows of their own in the store (KONG.md §1.2).
//!
//! All of it is one plan, so that no name is ever without its certificate in between (KONG-CLIENTS.md §6, point 20).

use super::{Operation, reference, refers_to};
use crate::admin::errors::Failure;
use crate::entity::{Kind, certificates};
use serde_json::{Map, Value};
use std::collections::HashMap;
use uuid::Uuid;

impl Operation<'_> {
    /// The certificate that has this name.
    pub(super) fn certificate_of(&mut self, name: &str) -> Option<Uuid> {
        let sni = self.plan.find(Kind::Snis, "name", name)?;
        refers_to(&*self.plan.get(Kind::Snis, sni)?, "certificate")
    }

    /// The names of a certificate, in ascending order.
    pub(super) fn sni_names(&mut self, certificate: Uuid) -> Vec<String> {
        let mut names: Vec<String> = self
            .snis_of(certificate)
            .into_iter()
            .map(|(_, name)| name)
            .collect();
        names.sort_unstable();
        names
    }

    /// `None`: the names are not touched.
    ///
    /// # Errors
    /// A name twice, or one of another certificate: 400, not 409.
    pub(super) fn check_names(
        &mut self,
        certificate: Uuid,
        names: Option<&[String]>,
    ) -> Result<(), Failure> {
        // Names that differ in case are one name.
        let names: Vec<String> = names
            .unwrap_or_default()
            .iter()
            .map(|name| name.to_ascii_lowercase())
            .collect();
        let owners: HashMap<&str, Uuid> = names
            .iter()
            .filter_map(|name| Some((name.as_str(), self.certificate_of(name)?)))
            .collect();
        let owner_of = |name: &str| owners.get(name).copied();
        certificates::check_snis(&names, Some(certificate), owner_of)?;
        Ok(())
    }

    /// Makes `names` the names of a certificate. Rows that stay keep their id.
    pub(super) fn assign_names(
        &mut self,
        certificate: Uuid,
        names: Option<Vec<String>>,
    ) -> Result<(), Failure> {
        let Some(names) = names else {
            return Ok(());
        };
        let mut wanted: HashMap<String, String> = names
            .into_iter()
            .map(|name| (name.to_ascii_lowercase(), name))
            .collect();
        for (id, name) in self.snis_of(certificate) {
            if wanted.remove(&name.to_ascii_lowercase()).is_none() {
                self.plan.delete(Kind::Snis, id)?;
            }
        }
        for name in wanted.into_values() {
            let input: Map<String, Value> = Map::from_iter([
                ("name".to_owned(), name.into()),
                ("certificate".to_owned(), reference(certificate)),
            ]);
            let row = self.checked(Kind::Snis, input)?;
            self.plan.insert(Kind::Snis, row)?;
        }
        Ok(())
    }

    fn snis_of(&mut self, certificate: Uuid) -> Vec<(Uuid, String)> {
        let ids = self
            .plan
            .referrers(Kind::Snis, "certificate", Kind::Certificates, certificate);
        let mut found = Vec::with_capacity(ids.len());
        for id in ids {
            let row = self.plan.get(Kind::Snis, id);
            let name = row.as_ref().and_then(|row| row.get("name")?.as_str());
            found.extend(name.map(|name| (id, name.to_owned())));
        }
        found
    }
}
