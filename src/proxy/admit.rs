//! The access phase: the plugins of the matched route decide, and only here a `Permit` is made. `forward` takes nothing
//! else, so no byte reaches an upstream unadmitted.

use crate::http1::error_body::Origin;
use crate::http1::head::RequestHead;
use crate::plugin::{self, Admitted, ClientFacts, Verdict};
use crate::proxy::core::{Core, View};
use crate::proxy::exchange::{Client, Refusal};
use crate::snapshot::Route;
use crate::tls::client_auth::{self, Looked};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use uuid::Uuid;

/// Proof that the route's plugins let this request through.
pub struct Permit {
    admitted: Rc<Admitted>,
    /// The number of the snapshot that gave it, and the unix second in which it is given anew at the latest.
    snapshot: u64,
    valid_until: u64,
}

impl Permit {
    /// Whether neither the configuration nor the time has moved on since it was given. Once it does not, ask
    /// `still_admitted`.
    pub fn is_fresh(&self, core: &Core) -> bool {
        self.snapshot == core.view().snapshot.number && core.now() < self.valid_until
    }

    pub fn admitted(&self) -> &Admitted {
        &self.admitted
    }

    /// What the log tells of it.
    pub fn share(&self) -> Rc<Admitted> {
        self.admitted.clone()
    }
}

/// Outcomes of this connection's earlier requests. One depends on the client's chain (fixed), the snapshot, the route, and
/// the time only as far as the verdict's own end, so it holds for the next request too.
#[derive(Default)]
pub struct Memo {
    entries: RefCell<Vec<Remembered>>,
}

struct Remembered {
    snapshot: u64,
    route: Uuid,
    valid_until: u64,
    admitted: Rc<Admitted>,
}

impl Memo {
    fn find(&self, snapshot: u64, route: Uuid, now: u64) -> Option<Permit> {
        let entries = self.entries.borrow();
        let found = entries
            .iter()
            .find(|entry| entry.route == route && entry.snapshot == snapshot)?;
        (now < found.valid_until).then(|| Permit {
            admitted: found.admitted.clone(),
            snapshot,
            valid_until: found.valid_until,
        })
    }

    fn remember(&self, entry: Remembered) {
        let mut entries = self.entries.borrow_mut();
        entries.retain(|old| old.snapshot == entry.snapshot && old.route != entry.route);
        if entries.len() >= crate::limits::ADMITTED_MEMO_MAX {
            entries.remove(0);
        }
        entries.push(entry);
    }
}

/// What a request says that a plugin may ask about.
pub struct Asked<'a> {
    pub head: &'a RequestHead,
    pub raw: &'a [u8],
}

/// Runs the access phase of `route`.
///
/// # Errors
/// The answer a plugin gives in place of the upstream.
pub fn admit(
    core: &Core,
    view: &View,
    client: &Client,
    memo: &Memo,
    route: &Route,
    asked: &Asked<'_>,
) -> Result<Permit, (Refusal, Option<Arc<str>>)> {
    let now = core.now();
    let number = view.snapshot.number;
    if let Some(permit) = memo.find(number, route.id, now) {
        return Ok(permit);
    }
    let mut outcome = run(core, view, client, route, now, asked);
    match outcome.verdict {
        Verdict::Continue => {
            let admitted = Rc::new(std::mem::take(&mut outcome.admitted));
            if !asks_about_request(route) {
                memo.remember(Remembered {
                    snapshot: number,
                    route: route.id,
                    valid_until: outcome.valid_until,
                    admitted: admitted.clone(),
                });
            }
            Ok(Permit {
                admitted,
                snapshot: number,
                valid_until: outcome.valid_until,
            })
        }
        Verdict::Answer(answer) => {
            let refusal = Refusal {
                status: answer.status,
                message: answer.message,
                origin: Origin::Kong,
                body: answer.body,
                fields: Vec::new(),
                reason: answer.reason,
                close: false,
                to_head: false,
            };
            Err((refusal, outcome.admitted.client_verify.take()))
        }
    }
}

/// Whether the client would still be admitted to `route` by the newest snapshot: asked while a long exchange runs.
///
/// That a route is gone does not say no: the exchange it began may end. Then it is judged by its own plugins, with the
/// consumers there are now, as long as none of its CAs has gone with it.
pub fn still_admitted(core: &Core, client: &Client, route: &Route, asked: &Asked<'_>) -> bool {
    let view = core.view();
    let judged_by: &Route = match view.route(route.id) {
        Some(newest) => newest,
        None if lacks_authority(&view, route) => return false,
        None => route,
    };
    let outcome = run(core, &view, client, judged_by, core.now(), asked);
    outcome.refused_by.is_none()
}

fn lacks_authority(view: &View, route: &Route) -> bool {
    route.plugins.mtls_auth.as_ref().is_some_and(|plugin| {
        let known = &view.snapshot.authorities;
        !plugin
            .ca_certificates
            .iter()
            .all(|id| known.contains_key(id))
    })
}

/// Whether a verdict on this route may turn while an exchange runs.
pub fn may_turn(route: &Route) -> bool {
    route.plugins.mtls_auth.is_some()
}

fn asks_about_request(route: &Route) -> bool {
    route.plugins.request_termination.is_some()
        || route
            .consumer_plugins
            .values()
            .any(|chain| chain.request_termination.is_some())
}

struct Outcome {
    verdict: Verdict,
    admitted: Admitted,
    valid_until: u64,
    /// Status of a 401 or 403, which speaks of the client and not of the request.
    refused_by: Option<u16>,
}

fn run(
    core: &Core,
    view: &View,
    client: &Client,
    route: &Route,
    now: u64,
    asked: &Asked<'_>,
) -> Outcome {
    let mut valid_until = u64::MAX;
    let mut admitted = Admitted::default();
    let request = plugin::Request {
        client: client.chain.as_ref(),
        consumers: &view.snapshot.consumers,
    };
    let mut judge = |chain: &Arc<client_auth::ClientChain>,
                     trust: &Arc<crate::tls::trust::TrustSet>| {
        let (verdict, looked) = core.verdicts.borrow_mut().judge(chain, trust, now);
        let mut metrics = core.metrics.borrow_mut();
        metrics.verdict_lookup(matches!(looked, Looked::Hit));
        if let Looked::Verified { signatures } = looked {
            metrics.chain_signatures(signatures);
        }
        match verdict {
            client_auth::Verdict::Trusted(trusted) => {
                metrics.client_verdict("trusted");
                valid_until = valid_until.min(trusted.valid_until);
                Ok(trusted as Arc<dyn ClientFacts>)
            }
            client_auth::Verdict::Refused(reason) => {
                metrics.client_verdict(reason.text());
                // An anonymous consumer may be admitted on a refusal: ask again soon.
                valid_until = valid_until.min(now + 1);
                Err(reason.to_string())
            }
        }
    };
    let present = |name: &str| {
        let by_field = asked.head.fields.iter().any(|line| {
            line.name
                .of(asked.raw)
                .eq_ignore_ascii_case(name.as_bytes())
        });
        by_field || query_names(asked, name)
    };
    let verdict = route.plugins.access(
        &route.consumer_plugins,
        &request,
        &mut judge,
        &present,
        &mut admitted,
    );
    let refused_by = match &verdict {
        Verdict::Answer(answer) if matches!(answer.status, 401 | 403 | 500) => Some(answer.status),
        _ => None,
    };
    Outcome {
        verdict,
        admitted,
        valid_until,
        refused_by,
    }
}

fn query_names(asked: &Asked<'_>, name: &str) -> bool {
    let Some(query) = asked.head.query else {
        return false;
    };
    query.of(asked.raw).split(|byte| *byte == b'&').any(|pair| {
        let key = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
        key == name.as_bytes()
    })
}
