//! One core's memory of verdicts.
//!
//! The key is content: digest of the whole chain and digest of the trust set, so a change of configuration that leaves
//! the set alone keeps every verdict. A hit costs a look-up; a link costs about 75 µs to verify (RUNTIME.md §4).
//!
//! Good verdicts and refusals live apart: anyone may present chains that are refused, only a holder of a trusted
//! certificate can add a good verdict, so strangers push out nothing but refusals. Such a holder can add many by varying
//! what it sends behind its leaf, at one verification each; the least recently used ones go.

use super::lru::Lru;
use super::{ClientChain, Reason, Trusted, Verdict, Work, judge};
use crate::limits;
use crate::tls::Digest;
use crate::tls::trust::TrustSet;
use std::sync::Arc;

pub struct VerdictCache {
    trusted: Lru<Key, Arc<Trusted>>,
    refused: Lru<Key, Refusal>,
}

/// How a verdict was come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looked {
    Hit,
    /// This many signatures were verified for it.
    Verified {
        signatures: u32,
    },
}

impl VerdictCache {
    pub fn new() -> VerdictCache {
        VerdictCache::bounded(limits::VERDICTS_TRUSTED_MAX, limits::VERDICTS_REFUSED_MAX)
    }

    /// With room for so many good verdicts and so many refusals; at least one of each.
    pub fn bounded(trusted: usize, refused: usize) -> VerdictCache {
        VerdictCache {
            trusted: Lru::new(trusted),
            refused: Lru::new(refused),
        }
    }

    /// [`judge`], remembered. A good verdict holds within the dates of its path, a refusal for
    /// `limits::VERDICT_REFUSED_TTL_S`; a clock set back ends both.
    pub fn judge(&mut self, chain: &ClientChain, trust: &TrustSet, now: u64) -> (Verdict, Looked) {
        let key = Key {
            chain: chain.digest,
            trust: trust.digest,
        };
        if let Some(trusted) = self.trusted.get(&key)
            && trusted.holds_at(now)
        {
            return (Verdict::Trusted(Arc::clone(trusted)), Looked::Hit);
        }
        if let Some(refusal) = self.refused.get(&key)
            && refusal.holds_at(now)
        {
            return (Verdict::Refused(refusal.reason), Looked::Hit);
        }
        let mut work = Work::default();
        let verdict = judge(chain, trust, now, &mut work);
        match &verdict {
            Verdict::Trusted(trusted) => {
                self.refused.remove(&key);
                self.trusted.insert(key, Arc::clone(trusted));
            }
            Verdict::Refused(reason) => {
                self.trusted.remove(&key);
                let refusal = Refusal {
                    reason: *reason,
                    judged_at: now,
                };
                self.refused.insert(key, refusal);
            }
        }
        let signatures = work.signatures;
        (verdict, Looked::Verified { signatures })
    }

    /// Good verdicts and refusals held.
    #[cfg(test)]
    pub fn sizes(&self) -> (usize, usize) {
        (self.trusted.len(), self.refused.len())
    }
}

impl Default for VerdictCache {
    fn default() -> VerdictCache {
        VerdictCache::new()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    chain: Digest,
    trust: Digest,
}

struct Refusal {
    reason: Reason,
    judged_at: u64,
}

impl Refusal {
    fn holds_at(&self, now: u64) -> bool {
        now.checked_sub(self.judged_at)
            .is_some_and(|age| age < limits::VERDICT_REFUSED_TTL_S)
    }
}
