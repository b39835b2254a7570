//! acl (KONG.md §5.8): who may pass by group. Priority 950.

use super::{Admitted, Answer, Verdict, X_AUTHENTICATED_GROUPS, X_CONSUMER_GROUPS, values};
use crate::snapshot::Consumer;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::HashSet;
use std::sync::Arc;

#[derive(Debug)]
pub struct Acl {
    rule: Rule,
    hide_groups_header: bool,
    always_use_authenticated_groups: bool,
}

#[derive(Debug)]
enum Rule {
    Allow(HashSet<String>),
    Deny(HashSet<String>),
}

impl Acl {
    /// `include_consumer_groups` has no effect: there are no consumer groups.
    pub fn from_config(config: &Map<String, Value>) -> Result<Acl, String> {
        let config = Config::deserialize(config).map_err(|e| format!("config: {e}"))?;
        let listed = |groups: Option<Vec<String>>| groups.filter(|groups| !groups.is_empty());
        let rule = match (listed(config.allow), listed(config.deny)) {
            (Some(groups), None) => Rule::Allow(groups.into_iter().collect()),
            (None, Some(groups)) => Rule::Deny(groups.into_iter().collect()),
            (Some(_), Some(_)) => {
                return Err(
                    "only one or none of these fields must be set: 'config.allow', 'config.deny'"
                        .into(),
                );
            }
            (None, None) => {
                return Err(
                    "at least one of these fields must be non-empty: 'config.allow', 'config.deny'"
                        .into(),
                );
            }
        };
        Ok(Acl {
            rule,
            hide_groups_header: config.hide_groups_header.unwrap_or(false),
            always_use_authenticated_groups: config
                .always_use_authenticated_groups
                .unwrap_or(false),
        })
    }

    pub fn access(&self, admitted: &mut Admitted) -> Verdict {
        let Some(groups) = self.groups(admitted) else {
            return refuse_nameless(admitted, "acl: neither a consumer nor a group is known");
        };
        let (header, value, passes) = match &groups {
            Groups::OfConsumer(consumer) if consumer.groups.is_empty() => match self.rule {
                Rule::Deny(_) => return Verdict::Continue,
                Rule::Allow(_) => {
                    return refuse_nameless(admitted, "acl: the consumer is in no group");
                }
            },
            Groups::OfConsumer(consumer) => (
                X_CONSUMER_GROUPS,
                consumer.groups_value.clone(),
                self.passes(&consumer.groups),
            ),
            Groups::Authenticated(groups) => {
                // mtls-auth without consumer look-up leaves the DN as the credential.
                let value = authenticated_value(groups, admitted.credential.as_deref());
                (X_AUTHENTICATED_GROUPS, value, self.passes(groups))
            }
        };
        if !passes {
            return forbid("acl: not allowed by group");
        }
        if !self.hide_groups_header {
            admitted.headers.push((header, value));
        }
        Verdict::Continue
    }

    /// Which groups count; `None` when there is nobody they could belong to.
    fn groups<'a>(&self, admitted: &'a Admitted) -> Option<Groups<'a>> {
        let authenticated = &admitted.authenticated_groups;
        match &admitted.consumer {
            None if authenticated.is_empty() => None,
            None => Some(Groups::Authenticated(authenticated)),
            Some(consumer) if authenticated.is_empty() => Some(Groups::OfConsumer(consumer)),
            Some(consumer)
                if admitted.credential.is_some() && !self.always_use_authenticated_groups =>
            {
                Some(Groups::OfConsumer(consumer))
            }
            Some(_) => Some(Groups::Authenticated(authenticated)),
        }
    }

    fn passes(&self, groups: &[Arc<str>]) -> bool {
        match &self.rule {
            Rule::Allow(allowed) => groups.iter().any(|group| allowed.contains(&**group)),
            Rule::Deny(denied) => !groups.iter().any(|group| denied.contains(&**group)),
        }
    }
}

#[derive(Deserialize)]
struct Config {
    allow: Option<Vec<String>>,
    deny: Option<Vec<String>>,
    hide_groups_header: Option<bool>,
    always_use_authenticated_groups: Option<bool>,
}

enum Groups<'a> {
    OfConsumer(&'a Consumer),
    Authenticated(&'a [Arc<str>]),
}

/// A DN has commas of its own, escaped where they are not separators; any other group must not pass for two.
fn authenticated_value(groups: &[Arc<str>], dn: Option<&str>) -> Arc<str> {
    match groups {
        [group] if dn == Some(&**group) => values::field_value(group).into(),
        groups => values::list(groups.iter().map(|group| &**group), ", ").into(),
    }
}

fn refuse_nameless(admitted: &Admitted, reason: &str) -> Verdict {
    match admitted.credential {
        Some(_) => forbid(reason),
        None => Verdict::Answer(Answer::message(401, "Unauthorized", reason)),
    }
}

fn forbid(reason: &str) -> Verdict {
    Verdict::Answer(Answer::message(
        403,
        "You cannot consume this service",
        reason,
    ))
}
