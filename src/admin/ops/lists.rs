//! Collections: of a kind, below a parent, of tags, and of an upstream's targets with their health (KONG.md §2.4).

use super::{Address, Operation, Outcome, Parent};
use crate::admin::errors::Failure;
use crate::admin::lists::{Query, Scope, Tagged};
use crate::admin::reply::Reply;
use crate::entity::{Entity, Kind, checks};
use hyper::StatusCode;
use serde_json::{Value, json};
use std::ops::Bound;
use std::sync::Arc;
use uuid::Uuid;

/// A collection as it was asked for.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The request's path, still encoded: `next` repeats it.
    pub path: String,
    /// The query component, without its `?`.
    pub query: String,
}

impl Operation<'_> {
    pub fn list(&mut self, kind: Kind, parent: Option<&Parent>, asked: &Asked) -> Outcome {
        if let (Kind::Consumers, None, Some(id)) = (kind, parent, argument(asked, "custom_id")) {
            return self.consumers_with(&id);
        }
        let page = self.page(kind, parent, asked)?;
        let rows = page.rows.iter();
        let rows = rows.map(|row| Value::Object(unshared(self.shown(kind, row))));
        let page = page
            .query
            .page(rows.collect(), &asked.path, &page.scope, page.last.as_ref());
        Ok(Reply::json(StatusCode::OK, &page))
    }

    /// `/upstreams/{u}/health`. Balancing over targets comes later, so nothing is checked and all say so.
    pub fn upstream_health(&mut self, at: &Address, asked: &Asked, node_id: &str) -> Outcome {
        const HEALTH: &str = "HEALTHCHECKS_OFF";
        let upstream = self
            .resolve(Kind::Upstreams, at, None)?
            .and_then(|id| self.plan.get(Kind::Upstreams, id))
            .ok_or_else(Failure::not_found)?;
        let whole = argument(asked, "balancer_health");
        if whole.is_some_and(|value| ["1", "true", "on", "yes"].contains(&value.as_str())) {
            let body = json!({
                "data": {"id": upstream.get("id"), "health": HEALTH},
                "next": null,
                "node_id": node_id,
            });
            return Ok(Reply::json(StatusCode::OK, &body));
        }
        let parent = targets_of(at);
        let page = self.page(Kind::Targets, Some(&parent), asked)?;
        let rows = page.rows.into_iter().map(|row| {
            let mut row = unshared(row);
            row.insert("health".into(), HEALTH.into());
            Value::Object(row)
        });
        let mut page =
            page.query
                .page(rows.collect(), &asked.path, &page.scope, page.last.as_ref());
        if let Some(page) = page.as_object_mut() {
            page.insert("node_id".into(), node_id.into());
        }
        Ok(Reply::json(StatusCode::OK, &page))
    }

    /// `/upstreams/{u}/targets/{t}[/{address}]/healthy` and `unhealthy`: there is nothing to set yet.
    pub fn set_target_health(
        &mut self,
        at: &Address,
        target: &Address,
        address: Option<&str>,
    ) -> Outcome {
        let owner = self.owner(Some(&targets_of(at)))?;
        if self.resolve(Kind::Targets, target, owner)?.is_none() {
            return Err(Failure::not_found());
        }
        if address.is_some_and(|address| checks::normal_target(address).is_none()) {
            return Err(Failure::not_found());
        }
        Ok(Reply::empty(StatusCode::NO_CONTENT))
    }

    /// `/tags`, or `/tags/{tag}`.
    pub fn tags(&mut self, tag: Option<&str>, asked: &Asked) -> Outcome {
        if let Some(tag) = tag
            && let Err(text) = checks::tag(&tag.into())
        {
            return Err(Failure::invalid_field("tag", text));
        }
        let scope = Scope::tags(tag);
        let query: Query<Tagged> = Query::parse(&asked.query, &scope)?;
        let config = &self.plan.image().config;
        let mut found: Vec<Tagged> = Vec::new();
        'all: for kind in Kind::ALL {
            if query.after.as_ref().is_some_and(|after| kind < after.kind) {
                continue;
            }
            let first = match &query.after {
                Some(after) if after.kind == kind => after.id,
                _ => Uuid::nil(),
            };
            let rows = config.tables.get(&kind).into_iter();
            for (id, row) in rows.flat_map(|rows| rows.range(first..)) {
                let mut own: Vec<Tagged> = tags_of(row)
                    .filter(|own| tag.is_none_or(|tag| tag == *own))
                    .map(|tag| Tagged {
                        kind,
                        id: *id,
                        tag: tag.to_owned(),
                    })
                    .filter(|own| query.after.as_ref().is_none_or(|after| own > after))
                    .collect();
                own.sort();
                found.append(&mut own);
                if found.len() > query.size {
                    break 'all;
                }
            }
        }
        let more = found.len() > query.size;
        found.truncate(query.size);
        let last = found.last().filter(|_| more);
        let data = found.iter().map(Tagged::to_json).collect();
        let page = query.page(data, &asked.path, &scope, last);
        Ok(Reply::json(StatusCode::OK, &page))
    }

    /// `GET /consumers?custom_id=X`: none or one.
    fn consumers_with(&mut self, custom_id: &str) -> Outcome {
        if custom_id.is_empty() {
            return Err(Failure::bad_request("custom_id must be an unempty string"));
        }
        let id = self.plan.find(Kind::Consumers, "custom_id", custom_id);
        let row = id.and_then(|id| self.plan.get(Kind::Consumers, id));
        let data: Vec<Arc<Entity>> = row.into_iter().collect();
        let data: Vec<&Entity> = data.iter().map(Arc::as_ref).collect();
        Ok(Reply::json(
            StatusCode::OK,
            &json!({"data": data, "next": null}),
        ))
    }

    fn page(
        &mut self,
        kind: Kind,
        parent: Option<&Parent>,
        asked: &Asked,
    ) -> Result<Page, Failure> {
        let owner = self.owner(parent)?;
        let scope = match owner {
            Some(owner) => Scope::children(kind, owner.id),
            None => Scope::collection(kind),
        };
        let query: Query<Uuid> = Query::parse(&asked.query, &scope)?;
        let image = self.plan.image();
        let wanted = |row: &Arc<Entity>| query.tags.as_ref().is_none_or(|tags| tags.admits(row));
        let mut rows: Vec<(Uuid, Arc<Entity>)> = match owner {
            Some(owner) => image
                .referrers_after(kind, owner.field, owner.kind, owner.id, query.after)
                .filter_map(|id| Some((id, image.get(kind, id)?.clone())))
                .filter(|(_, row)| wanted(row))
                .take(query.size + 1)
                .collect(),
            None => {
                let first = query.after.map_or(Bound::Unbounded, Bound::Excluded);
                let table = image.config.tables.get(&kind).into_iter();
                table
                    .flat_map(|table| table.range((first, Bound::Unbounded)))
                    .filter(|(_, row)| wanted(row))
                    .map(|(id, row)| (*id, row.clone()))
                    .take(query.size + 1)
                    .collect()
            }
        };
        let more = rows.len() > query.size;
        rows.truncate(query.size);
        Ok(Page {
            last: rows.last().map(|(id, _)| *id).filter(|_| more),
            rows: rows.into_iter().map(|(_, row)| row).collect(),
            query,
            scope,
        })
    }
}

struct Page {
    /// In ascending id.
    rows: Vec<Arc<Entity>>,
    /// The id of the last row, when more rows follow it.
    last: Option<Uuid>,
    query: Query<Uuid>,
    scope: Scope,
}

fn targets_of(at: &Address) -> Parent {
    Parent {
        kind: Kind::Upstreams,
        at: at.clone(),
        field: "upstream",
    }
}

fn unshared(row: Arc<Entity>) -> Entity {
    Arc::unwrap_or_clone(row)
}

fn tags_of(row: &Entity) -> impl Iterator<Item = &str> {
    let tags = row.get("tags").and_then(Value::as_array);
    tags.into_iter().flatten().filter_map(Value::as_str)
}

/// The last value of a query argument.
fn argument(asked: &Asked, name: &str) -> Option<String> {
    form_urlencoded::parse(asked.query.as_bytes())
        .filter(|(given, _)| given == name)
        .last()
        .map(|(_, value)| value.into_owned())
}
