//! From an operation to the store: plan, commit, again on the newest state when it conflicts, and wait until it is live.

use super::{Operation, Outcome, advice};
use crate::admin::errors::Failure;
use crate::admin::reply::Reply;
use crate::admin::{Admin, NotLive, Stuck, first_of};
use crate::limits::ADMIN_PLAN_ATTEMPTS;
use crate::store::{Batch, CommitError, Image, Plan, Revision};
use crate::telemetry::access::Level;
use hyper::StatusCode;
use std::sync::Arc;

/// An operation that writes nothing, on the thread of the caller.
pub fn read(admin: &Admin, operation: impl FnOnce(&mut Operation<'_>) -> Outcome) -> Outcome {
    let directives = admin.node.directives.now();
    let mut plan = Plan::new(admin.node.store.image());
    operation(&mut Operation {
        plan: &mut plan,
        now_ms: (admin.node.now_ms)(),
        plugins: directives.plugins.as_deref(),
    })
}

/// Plans on a thread that may compute, since keys and certificates are parsed there.
///
/// # Errors
/// What the operation says; 500 for what the store or the cores say, which the log tells.
pub async fn write<F>(admin: &Arc<Admin>, operation: F) -> Outcome
where
    F: Fn(&mut Operation<'_>) -> Outcome + Send + Sync + 'static,
{
    let operation = Arc::new(operation);
    // Of many that write one row at once, each commit turns away all others: without an order the last would be planned as
    // often as there are clients.
    let mut turn = None;
    for _ in 0..ADMIN_PLAN_ATTEMPTS {
        let image = admin.node.store.image();
        let planned_on = image.revision;
        let (node, run) = (Arc::clone(admin), Arc::clone(&operation));
        let (outcome, batch) = admin.compute(move || plan(&node, image, &*run)).await?;
        let reply = outcome?;
        let Some((batch, advice)) = batch else {
            turn = None;
            // What was to be deleted is not there: who deleted it may still be waiting for the cores. If that is taken
            // back, it may be there again.
            match (admin.node.live)(planned_on).await {
                Err(NotLive::TakenBack(_)) => continue,
                live => return answer(admin, planned_on, live, reply),
            }
        };
        if let Some(stuck) = (admin.node.stuck)()
            && !mends(&stuck, &batch)
        {
            let text = format!(
                "what is stored cannot be served: {}; until it is changed or deleted, other changes are refused",
                stuck.reason
            );
            admin.log(Level::Warn, &text);
            return Err(Failure::unavailable(text));
        }
        match admin.node.store.commit(batch).await {
            Ok(revision) => {
                drop(turn);
                for line in first_of(advice) {
                    admin.log(Level::Warn, &line);
                }
                let live = (admin.node.live)(revision).await;
                return answer(admin, revision, live, reply);
            }
            Err(CommitError::Conflict) => {
                if turn.is_none() {
                    turn = Some(admin.turn.lock().await);
                }
            }
            Err(error @ CommitError::Storage(_)) => {
                return Err(admin.unexpected(Level::Error, &error));
            }
            Err(error @ CommitError::Busy) => {
                admin.log(Level::Warn, &error);
                return Err(Failure::busy(error.to_string()));
            }
            Err(error @ (CommitError::Closed | CommitError::ReadOnly)) => {
                admin.log(Level::Warn, &error);
                return Err(Failure::unavailable(error.to_string()));
            }
        }
    }
    let text = format!("a write conflicted {ADMIN_PLAN_ATTEMPTS} times and was given up");
    Err(admin.unexpected(Level::Warn, &text))
}

fn answer(admin: &Admin, revision: Revision, live: Result<(), NotLive>, reply: Reply) -> Outcome {
    match live {
        Ok(()) => Ok(reply),
        Err(NotLive::TakenBack(reason)) => {
            let text = format!("the change cannot be served and was not kept: {reason}");
            admin.log(Level::Error, &format_args!("revision {revision}: {text}"));
            Err(Failure::bad_request(text))
        }
        Err(NotLive::Stored(reason)) => {
            let text = format!("revision {revision} is stored and not live: {reason}");
            admin.log(Level::Error, &text);
            Err(Failure::message(StatusCode::INTERNAL_SERVER_ERROR, text))
        }
    }
}

/// Whether a batch touches a row that is to be mended. What it makes of it shows when it is compiled.
fn mends(stuck: &Stuck, batch: &Batch) -> bool {
    let rows = &stuck.rows;
    let mut writes = batch.writes.iter();
    rows.is_empty() || writes.any(|write| rows.contains(&(write.kind, write.id)))
}

fn plan(
    admin: &Admin,
    image: Arc<Image>,
    operation: &impl Fn(&mut Operation<'_>) -> Outcome,
) -> (Outcome, Option<(Batch, Vec<String>)>) {
    let directives = admin.node.directives.now();
    let now_ms = (admin.node.now_ms)();
    let mut plan = Plan::new(Arc::clone(&image));
    let outcome = operation(&mut Operation {
        plan: &mut plan,
        now_ms,
        plugins: directives.plugins.as_deref(),
    });
    let batch = (outcome.is_ok() && !plan.is_read_only()).then(|| {
        let batch = plan.into_batch();
        let advice = advice::lines(&image, &batch.writes, now_ms / 1000);
        (batch, advice)
    });
    (outcome, batch)
}
